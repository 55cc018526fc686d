"""Why a network in int8 takes an engine longer than it should, in words, with its nodes.

From the engine's own profiles of both forms. What each reason costs is told, so that the largest is
seen; a reason that costs next to nothing is not given.
"""

from collections.abc import Iterator, Mapping, Sequence

import onnx

from lepton_ai.graph.graph_report import NodeTime

#: Kernels that only round or widen; those that only bring values into another layout.
_ROUNDING = frozenset(
    {"Convert", "DequantizeLinear", "DynamicQuantizeLinear", "FakeQuantize", "QuantizeLinear"}
)
_MOVING = frozenset({"Reorder", "ReorderInput", "ReorderOutput"})
#: Operators that engines have kernels for in int8, under another name.
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
#: Channels below which kernels in int8 are not filled.
_FEW_CHANNELS = 16
#: Of the whole call: what costs less is no reason. Nodes that are named with one.
_LEAST_SHARE, _MOST_NAMED = 0.05, 2


def reasons(
    exact: onnx.ModelProto,
    before: Mapping[str, float],
    after: Mapping[str, float],
    kernels: Sequence[NodeTime],
    beside: Mapping[str, str],
) -> list[str]:
    """What makes the form in int8 slow, the dearest first.

    ``before`` and ``after`` are milliseconds of the nodes of ``exact`` in floating point and in
    int8; ``kernels`` are those of the form in int8, and ``beside`` tells for each node that a
    quantiser put in the node that it was put in for.
    """
    total = sum(kernel.milliseconds for kernel in kernels)
    if not total:
        return []
    found = [
        *_alone(kernels, beside, _ROUNDING, "to rounding and widening that nothing fuses"),
        *_alone(kernels, beside, _MOVING, "to changes of layout"),
        *_in_floating_point(exact, kernels),
        *_narrow(exact, before, after),
    ]
    return [
        f"{cost / total:.0%} {words}{_named(nodes)}"
        for cost, words, nodes in sorted(found, key=lambda each: -each[0])
        if cost >= _LEAST_SHARE * total
    ]


_Found = tuple[float, str, list[str]]


def _alone(
    kernels: Sequence[NodeTime], beside: Mapping[str, str], operators: frozenset[str], words: str
) -> Iterator[_Found]:
    """Kernels of these operators, and the nodes that they run for, the dearest first."""
    costs: dict[str, float] = {}
    nameless = 0.0
    for kernel in kernels:
        if kernel.operator in operators:
            name = next((beside.get(node, node) for node in kernel.nodes), None)
            if name is None:
                nameless += kernel.milliseconds
            else:
                costs[name] = costs.get(name, 0.0) + kernel.milliseconds
    yield sum(costs.values()) + nameless, words, sorted(costs, key=lambda name: -costs[name])


def _in_floating_point(exact: onnx.ModelProto, kernels: Sequence[NodeTime]) -> Iterator[_Found]:
    """Products that ONNX Runtime computes under their own names, which are those in fp32."""
    operators = {node.name: node.op_type for node in exact.graph.node}
    costs: dict[str, float] = {}
    if any(kernel.operator.startswith("QLinear") for kernel in kernels):
        for kernel in kernels:
            if kernel.operator in _PRODUCTS or kernel.operator.startswith("Fused"):
                for name in kernel.nodes[:1]:
                    if operators.get(name) in _PRODUCTS:
                        costs[name] = costs.get(name, 0.0) + kernel.milliseconds
    words = "to products that it computes in floating point all the same"
    yield sum(costs.values()), words, sorted(costs, key=lambda name: -costs[name])


def _narrow(
    exact: onnx.ModelProto, before: Mapping[str, float], after: Mapping[str, float]
) -> Iterator[_Found]:
    """Convolutions that int8 slowed down, by what their kernels are not made for."""
    shapes = {weight.name: tuple(weight.dims) for weight in exact.graph.initializer}
    kinds: dict[str, list[str]] = {}
    for node in exact.graph.node:
        shape = shapes.get(node.input[1]) if len(node.input) > 1 else None
        slower = after.get(node.name, 0.0) > before.get(node.name, 0.0) > 0
        if node.op_type != "Conv" or shape is None or not slower:
            continue
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        if groups > 1:
            kinds.setdefault("depth-wise convolutions", []).append(node.name)
        elif min(shape[:2]) < _FEW_CHANNELS:
            kinds.setdefault("convolutions of few channels", []).append(node.name)
    for kind, names in kinds.items():
        names.sort(key=lambda name: before[name] - after[name])
        was, now = (sum(times[name] for name in names) for times in (before, after))
        yield now - was, f"lost on {kind}, {now / was:.1f}× as long as in floating point", names


def _named(nodes: Sequence[str]) -> str:
    if not nodes:
        return ""
    rest = len(nodes) - _MOST_NAMED
    shown = ", ".join(repr(name) for name in nodes[:_MOST_NAMED])
    return f" ({shown}{f' and {rest} more' if rest > 0 else ''})"
