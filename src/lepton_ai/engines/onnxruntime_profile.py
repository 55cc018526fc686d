"""Where ONNX Runtime's time goes, by its own profiler, in the names of the original graph.

The graph as the runtime has optimised it is saved beside the profile. A fused kernel keeps the name
of the value that the nodes it replaced ended with, and often a name made from one of theirs; layout
changes rename that value, but keep the kernel's name.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from lepton_ai.engines.stands_for import Kernel, Original, stands_for
from lepton_ai.errors import EngineError
from lepton_ai.graph.graph_report import NodeTime
from lepton_ai.model.signature import Arrays

if TYPE_CHECKING:
    import onnx_ir as ir

_MICROSECONDS_PER_MILLISECOND = 1e3
#: Calls that find cold caches and memory not yet reserved.
WARM_UP_CALLS = 2
_KERNEL = "_kernel_time"
#: Kernels that only move what another has computed.
_MOVES = frozenset(
    {"ReorderInput", "ReorderOutput", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
_IDLE = frozenset({"ReorderInput", "ReorderOutput", "MemcpyFromHost", "MemcpyToHost"})
#: ``conv1_out_nchwc``: the convolution that gave the value ``conv1_out``, in blocked layout.
_BLOCKED = "_nchwc"
#: ``node/GeluFusion/``: the fusion that began or ended with ``node``.
_FUSION = re.compile(r"^(.+?)/\w*Fusion\w*(?:/.*)?$")
#: ``node_token_3``: the operator of ``node`` in int8, with what rounded and widened around it.
_IN_INT8 = re.compile(r"^(.+)_token_\d+$")

#: Opens a session on a file, or on a serialised graph: the source and options to set on it.
Open = Callable[[Any, Callable[[Any], None]], Any]


def profile_session(
    path: Path, open_session: Open, feed: Arrays, calls: int, folder: Path
) -> tuple[NodeTime, ...]:
    """The time of each kernel over ``calls`` calls; ``folder`` takes the runtime's files.

    Raises:
        EngineError: the runtime refuses the graph or fails on ``feed``.
    """
    import onnx_ir as ir

    original = Original(path)
    source = ir.to_proto(original.model).SerializeToString() if original.name_all() else str(path)
    optimised = folder / "optimised.onnx"

    def ask(options: Any) -> None:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.optimized_model_filepath = str(optimised)
        # Weights beside the graph, which then stays small to write and to read.
        prefix = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{prefix}_file_name", "weights")
        options.add_session_config_entry(f"{prefix}_min_size_in_bytes", "1024")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )

    session = open_session(source, ask)
    try:
        for _ in range(WARM_UP_CALLS + calls):
            session.run(None, feed)
    except Exception as failure:  # its exceptions share no base class
        raise EngineError(f"onnxruntime failed: {failure}") from failure
    finally:
        record = Path(session.end_profiling())
    times = kernel_times(json.loads(record.read_text(encoding="utf-8")))
    nodes = _nodes_of(ir.load(optimised), original)
    return tuple(
        NodeTime(
            kernel=name,
            operator=operator,
            milliseconds=taken,
            nodes=nodes.get(name, ()),
        )
        for (name, operator), taken in times.items()
    )


def kernel_times(events: Iterable[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Milliseconds of each kernel per call, by name and operator: the median over calls.

    The kernels of a body count for themselves and not for the ``If`` or ``Loop`` around them; those
    that run several times within a call count as often. The first calls are left out.
    """
    listed = list(events)
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in listed if e["name"] == "model_run")
    kernels = sorted(
        (e for e in listed if e.get("cat") == "Node" and e["name"].endswith(_KERNEL)),
        key=lambda e: (e["ts"], -e["dur"]),
    )
    taken: dict[tuple[str, str], list[float]] = {}
    alone = _alone(kernels)
    at = 0
    for call, (begin, end) in enumerate(runs):
        while at < len(kernels) and kernels[at]["ts"] < begin:
            at += 1
        sums: dict[tuple[str, str], float] = defaultdict(float)
        while at < len(kernels) and kernels[at]["ts"] <= end:
            key = kernels[at]["name"].removesuffix(_KERNEL), kernels[at]["args"]["op_name"]
            sums[key] += alone[at]
            at += 1
        if call >= WARM_UP_CALLS or len(runs) <= WARM_UP_CALLS:
            for key, one in sums.items():
                taken.setdefault(key, []).append(one)
    return {key: median(all_) / _MICROSECONDS_PER_MILLISECOND for key, all_ in taken.items()}


def _alone(kernels: list[dict[str, Any]]) -> list[float]:
    """What each kernel took less what those inside it took, in the order of their beginning."""
    alone = [float(event["dur"]) for event in kernels]
    around: list[int] = []
    for place, event in enumerate(kernels):
        while around and kernels[around[-1]]["ts"] + kernels[around[-1]]["dur"] <= event["ts"]:
            around.pop()
        if around and _has_body(kernels[around[-1]]):
            alone[around[-1]] = max(0.0, alone[around[-1]] - event["dur"])
        around.append(place)
    return alone


def _has_body(event: dict[str, Any]) -> bool:
    return event["args"]["op_name"] in ("If", "Loop", "Scan")


def _nodes_of(optimised: ir.Model, original: Original) -> dict[str, tuple[str, ...]]:
    """By the name of each kernel, the nodes that it stands for."""
    every = list(optimised.graph.all_nodes())
    place = {node: number for number, node in enumerate(every)}
    kernels = []
    for node in every:
        producers = (None if value is None else value.producer() for value in node.inputs)
        kernels.append(
            Kernel(
                name=node.name or f"{node.op_type}_{place[node]}",
                operator=node.op_type,
                sources=tuple(place[p] for p in producers if p is not None),
                idle=node.op_type in _IDLE,
            )
        )
    for kernel, claim in _claims(every, place, original):
        held = kernels[kernel].claims
        if claim not in held:
            held.append(claim)
    for kernel_, node in zip(kernels, every, strict=True):
        same = {claim.op_type for claim in kernel_.claims} == {node.op_type}
        kernel_.fused = not same and not kernel_.idle
    names = stands_for(kernels, original)
    return {kernel.name: group for kernel, group in zip(kernels, names, strict=True)}


def _claims(
    every: list[ir.Node], place: dict[ir.Node, int], original: Original
) -> Iterator[tuple[int, ir.Node]]:
    """Pairs of a kernel and a node that it is known by: by name first, then by the value given."""
    for node in every:
        named = _by_name(node.name or "", original)
        if named is not None:
            yield place[node], named
            if node.op_type == "Conv":
                yield from ((place[node], one) for one in _summed(node, named))
    for node in every:
        for output in node.outputs:
            wanted = original.values.get(output.name or "")
            if wanted is not None:
                yield place[_maker(node, wanted)], wanted


def _summed(kernel: ir.Node, last: ir.Node) -> Iterator[ir.Node]:
    """What follows ``last`` inside a convolution that adds its fourth input, and its activation."""
    wanted = ["Add"] if len(kernel.inputs) > 3 and kernel.inputs[3] is not None else []
    if wanted and "activation" in kernel.attributes:
        wanted.append(kernel.attributes.get_string("activation", ""))
    for operator in wanted:
        readers = [reader for reader in last.outputs[0].consumers() if reader.op_type == operator]
        if len(readers) != 1:
            return
        last = readers[0]
        yield last


def _by_name(name: str, original: Original) -> ir.Node | None:
    if name.endswith(_BLOCKED):
        return original.values.get(name.removesuffix(_BLOCKED))
    if name in original.nodes:
        return original.nodes[name]
    fused = _FUSION.match(name) or _IN_INT8.match(name)
    return original.nodes.get(fused[1]) if fused else None


def _maker(node: ir.Node, wanted: ir.Node) -> ir.Node:
    """The kernel that computes what ``wanted`` did: before those that only move it, as ``node``."""
    while node.op_type in _MOVES and node.op_type != wanted.op_type:
        before = None if node.inputs[0] is None else node.inputs[0].producer()
        if before is None:
            break
        node = before
    return node
