"""The nodes of a quantised graph that an engine computes more slowly than in floating point.

What is rounded or widened beside a node is counted to it: that is what int8 costs where kernels for
it are missing or do not fuse. An engine's own profiler is asked about both graphs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from lepton_ai.compress.int8_costs import reasons
from lepton_ai.compress.rounded import Rounded
from lepton_ai.graph.graph_report import NodeTime
from lepton_ai.measure.profile import times_by_node

#: Times of kernels that are closer than this are the same.
_NOISE = 1.1

#: The kernels of the graph in a file.
Profiled = Callable[[Path], Sequence[NodeTime]]


@dataclass(frozen=True, kw_only=True)
class Slower:
    """The nodes that take longer in int8, with the milliseconds each loses, most first; and why."""

    nodes: list[tuple[str, float]]
    reasons: list[str]


def slower_nodes(plain: Path, quantised: Path, shipped: Path, profiled: Profiled) -> Slower:
    """Which nodes take longer in ``quantised``, and what its time goes to.

    ``plain`` is as :func:`~lepton_ai.compress.graph_file.prepare` makes it, which ``quantised`` was
    made of; ``shipped`` is the form of ``quantised`` that the engine gets.

    Raises:
        EngineError: the engine does not tell its times, or refuses a graph.
    """
    exact, rounded = onnx.load(plain), onnx.load(quantised)
    kernels, operators = profiled(shipped), _operators(exact)
    beside = _beside(onnx.load(shipped), frozenset(operators))
    before = times_of(exact, exact, profiled(plain))
    after = times_by_node(kernels, operators, beside)
    found = [
        (name, after[name] - before.get(name, 0.0))
        for name in Rounded(exact, rounded).names
        if after.get(name, 0.0) > before.get(name, 0.0) * _NOISE
    ]
    return Slower(
        nodes=sorted(found, key=lambda pair: -pair[1]),
        reasons=reasons(exact, before, after, kernels, beside),
    )


def times_of(
    exact: onnx.ModelProto, model: onnx.ModelProto, kernels: Sequence[NodeTime]
) -> dict[str, float]:
    """The milliseconds of each node of ``exact`` in ``model``, which was made of it.

    A kernel that only rounds or widens is counted to the node that reads what it makes.
    """
    operators = _operators(exact)
    return times_by_node(kernels, operators, _beside(model, frozenset(operators)))


def _operators(model: onnx.ModelProto) -> dict[str, str]:
    return {node.name: node.op_type for node in model.graph.node}


def _beside(model: onnx.ModelProto, known: frozenset[str]) -> dict[str, str]:
    """For each node that a quantiser put in, the node of the original that reads what it makes."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    found: dict[str, str] = {}
    for node in reversed(model.graph.node):  # in the order of computation: readers are done first
        if node.name in known:
            continue
        for reader in (one for tensor in node.output for one in readers.get(tensor, ())):
            name = reader.name if reader.name in known else found.get(reader.name)
            if name is not None:
                found[node.name] = name
                break
    return found
