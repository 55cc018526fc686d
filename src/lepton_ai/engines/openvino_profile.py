"""Where OpenVINO's time goes, by its performance counters, in the names of the original graph.

The counters are whole microseconds, averaged by the plug-in over all calls since the graph was
compiled. So they are read twice, after the warm-up and at the end: what was added between is the
mean of the calls between. The plug-in's executable graph tells which layers each kernel is made
from; what its converter took apart has names of its own and is placed by its neighbours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ai.engines.stands_for import Kernel, Original, stands_for
from lepton_ai.graph.graph_report import NodeTime
from lepton_ai.model.signature import Arrays

if TYPE_CHECKING:
    import onnx_ir as ir

#: The first call compiles kernels; its share of the average is taken out again.
WARM_UP_CALLS = 2
_LAYERS = "originalLayersNames"
_KIND = "layerType"
_SINK = "/sink_port_0"
#: Kernels that convert or move memory, unless a layer of the graph asked for it by name.
_IDLE = frozenset({"Convert", "Input", "Output", "Reorder"})


def profile_request(path: Path, compiled: Any, feed: Arrays, calls: int) -> tuple[NodeTime, ...]:
    """The mean time of each kernel over ``calls`` calls of a graph compiled with counters."""
    request = compiled.create_infer_request()
    contiguous = {name: np.asarray(value, order="C") for name, value in feed.items()}
    for _ in range(WARM_UP_CALLS):
        request.infer(contiguous, share_inputs=True)
    before = _totals(request, WARM_UP_CALLS)
    for _ in range(calls):
        request.infer(contiguous, share_inputs=True)
    after = _totals(request, WARM_UP_CALLS + calls)
    nodes = _nodes_of(compiled.get_runtime_model(), Original(path))
    return tuple(
        NodeTime(
            kernel=name,
            operator=operator,
            milliseconds=max(0.0, total - before.get((name, operator), 0.0)) / calls,
            nodes=nodes.get(name, ()),
        )
        for (name, operator), total in after.items()
    )


def _totals(request: Any, calls: int) -> dict[tuple[str, str], float]:
    """Milliseconds of each kernel that ran, summed over all ``calls`` so far."""
    totals: dict[tuple[str, str], float] = {}
    for info in request.get_profiling_info():
        if info.status == info.Status.EXECUTED:
            key = str(info.node_name), str(info.node_type)
            spent = info.real_time.total_seconds() * 1e3 * calls
            totals[key] = totals.get(key, 0.0) + spent
    return totals


def _nodes_of(runtime: Any, original: Original) -> dict[str, tuple[str, ...]]:
    """By the name of each kernel, the nodes that it stands for."""
    operators = list(runtime.get_ordered_ops())
    place = {op.get_friendly_name(): number for number, op in enumerate(operators)}
    kernels = []
    for op in operators:
        told = op.get_rt_info()
        layers = str(told[_LAYERS].value).split(",") if _LAYERS in told else []
        claims = [node for name in layers if (node := _by_name(name, original)) is not None]
        kind = str(told[_KIND].value) if _KIND in told else ""
        sources = (value.get_node().get_friendly_name() for value in op.input_values())
        kernels.append(
            Kernel(
                name=op.get_friendly_name(),
                operator=kind,
                sources=tuple(place[source] for source in sources),
                claims=list(dict.fromkeys(claims)),
                idle=not claims and kind in _IDLE,
            )
        )
    names = stands_for(kernels, original)
    return {kernel.name: group for kernel, group in zip(kernels, names, strict=True)}


def _by_name(name: str, original: Original) -> ir.Node | None:
    """A layer goes by its node's name; by its value's where the node has none or ends the graph."""
    plain = name.removesuffix(_SINK)
    return original.nodes.get(plain) or original.values.get(plain)
