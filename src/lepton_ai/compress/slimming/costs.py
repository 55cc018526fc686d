"""The milliseconds of each node in an engine, with all widths at four shares of what they are.

The engine is asked, by its own profiler, about graphs that are thinned evenly: what kernels make of
half the channels is seldom half the time. A quantised network is measured quantised.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir

from lepton_ai.compress.slimming.allocation import SHARES, Width
from lepton_ai.compress.slimming.removal import without_components
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.graph.onnx_file import save_graph
from lepton_ai.measure.child import Child
from lepton_ai.measure.profile import times_by_node
from lepton_ai.model.signature import Arrays

#: Calls that each profile is taken from.
_CALLS = 10
_PROFILE = "lepton_ai.measure.profile:kernel_times"
_TIMEOUT = 240.0
#: Makes of a graph's file the one that is to be fast, in a folder: quantises it, or leaves it.
Shipping = Callable[[Path, Path], Path]


def node_curves(
    model: ir.Model,
    widths: Sequence[Width],
    feed: Arrays,
    *,
    engine: str,
    threads: int,
    as_shipped: Shipping,
    form: str,
    cache: Path,
) -> dict[str, list[float]]:
    """Milliseconds of each node that has a kernel, at :data:`SHARES` of all widths.

    Measured once per graph, engine and ``form`` (what ``as_shipped`` makes), and kept in ``cache``.

    Raises:
        EngineError: the engine does not tell its times, or refuses a graph.
        WorkerError: its process died or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-slim-") as scratch:
        folder = Path(scratch)
        whole = folder / "model.onnx"
        save_graph(model, whole)
        digest = hashlib.sha256(whole.read_bytes()).hexdigest()[:16]
        kept = cache / f"times-{digest}-{engine}-{form}-{threads}.json"
        if kept.exists():
            known: dict[str, list[float]] = json.loads(kept.read_text(encoding="utf-8"))
            return known
        at_each = []
        operators = {str(node.name): node.op_type for node in model.graph}
        settings = EnginePlan(threads=threads).to_json()
        with Child(folder / "log.txt", title=f"{engine}'s profiler") as child:
            for share in SHARES:
                path = folder / f"at-{share}.onnx"
                save_graph(evenly(model, widths, share), path)
                kernels = child.call(
                    _PROFILE,
                    engine,
                    str(as_shipped(path, folder)),
                    settings,
                    feed,
                    _CALLS,
                    timeout=_TIMEOUT,
                )
                at_each.append(times_by_node(kernels, operators))
        curves = {name: [times.get(name, 0.0) for times in at_each] for name in at_each[0]}
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps(curves), encoding="utf-8")
        partial.replace(kept)
        return curves


def evenly(model: ir.Model, widths: Sequence[Width], share: float) -> ir.Model:
    """A copy of ``model`` with every width at ``share`` of what it is, or as near as steps go."""
    gone: list[int] = []
    for width in widths:
        wanted = (1 - share) * len(width.components)
        count = min([0, *width.steps()], key=lambda each: abs(each - wanted))
        gone += [int(one) for one in width.components[:count]]
    return without_components(model, gone)
