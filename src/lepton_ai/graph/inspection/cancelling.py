"""Neighbours that undo each other, or that one node could replace."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known, same_known_shape, sole_reader
from lepton_ai.graph.inspection.no_operations import is_idle
from lepton_ai.graph.rule import node_label
from lepton_ai.graph.values.operands import operand

#: They answer with their input's elements in their input's order, under another shape.
RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
#: Twice is not at all.
INVOLUTIONS = frozenset({"BitwiseNot", "Neg", "Not"})
#: Twice is once.
IDEMPOTENT = frozenset({"Abs", "Ceil", "Floor", "Relu", "Round", "Sign"})

#: Whether both nodes go (``True``), the two become one (``False``), or neither (``None``).
Verdict = bool | None


def cancelling_pairs(known: Known) -> Iterator[Finding]:
    """Pairs of nodes, the second the reader of the first, that leave less than they do."""
    taken: set[ir.Node] = set()
    for second in known.nodes:
        first = _before(second)
        if first is None or first in taken or is_idle(known, first) or is_idle(known, second):
            continue
        judge = JUDGES.get((_family(first), _family(second)))
        verdict = None if judge is None else judge(known, first, second)
        if verdict is None:
            continue
        finding = _told(known, first, second, cancels=verdict)
        if finding is not None:
            taken.update((first, second))
            yield finding


def _told(known: Known, first: ir.Node, second: ir.Node, *, cancels: bool) -> Finding | None:
    """What one finds; nothing where it would spare nothing."""
    pair = f"{first.op_type}-{second.op_type}: {node_label(first)} and {node_label(second)}"
    alone = all(sole_reader(value) or not value.uses() for value in first.outputs)
    # Of two that become one, the first is spared: the second reads what the first read.
    spared = [first] * alone + [second] * (cancels and not _names_an_input(first, second))
    if not spared:
        return None
    rest = "" if alone else ", though the first is read elsewhere too"
    sentence = f"{pair} undo each other{rest}" if cancels else f"{pair} could be one"
    return known.finding("cancelling", [first, second], sentence, spared=spared)


def _names_an_input(first: ir.Node, second: ir.Node) -> bool:
    """Whether a node must stay, to answer with what the graph was given."""
    read = first.inputs[0]
    return second.outputs[0].is_graph_output() and read is not None and read.producer() is None


def _before(node: ir.Node) -> ir.Node | None:
    """The node of the same graph whose first output ``node`` reads first."""
    value = node.inputs[0] if node.inputs else None
    producer = None if value is None else value.producer()
    if value is None or producer is None or producer.graph is not node.graph:
        return None
    standard = {node.domain, producer.domain} <= {"", "ai.onnx"}
    return producer if standard and producer.inputs and producer.outputs[0] is value else None


def _family(node: ir.Node) -> str:
    return "Reshape" if node.op_type in RESHAPES else node.op_type


def _reshapes(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    if first.inputs[0] is not None and same_known_shape(first.inputs[0], second.outputs[0]):
        return True
    if second.op_type == "Reshape" and _names_no_axis(known, second):
        return False
    alike = first.op_type == second.op_type and first.op_type in ("Squeeze", "Unsqueeze")
    return False if alike else None


def _names_no_axis(known: Known, node: ir.Node) -> bool:
    """Whether a ``Reshape`` says its shape without a 0, which stands for its input's axis."""
    shape = known.small(operand(node, 1))
    return shape is not None and bool((shape != 0).all())


def _transposes(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    orders = [list(node.attributes.get_ints("perm", ())) for node in (first, second)]
    if not orders[0] or not orders[1] or len(orders[0]) != len(orders[1]):
        return True if orders == [[], []] else None
    return bool([orders[0][axis] for axis in orders[1]] == list(range(len(orders[0]))))


def _casts(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    value = first.inputs[0]
    source = None if value is None else value.dtype
    between, target = first.outputs[0].dtype, second.outputs[0].dtype
    if source is None or between is None or target is None or not _holds(source, between):
        return None
    return source == target


def _holds(source: ir.DataType, target: ir.DataType) -> bool:
    """Whether every value of ``source`` is one of ``target``."""
    try:
        return np.can_cast(source.numpy(), target.numpy(), "safe")
    except TypeError:  # a dtype that NumPy does not know
        return False


def _both(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    return True


def _once(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    return False


def _split_back(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    """``Concat`` and a ``Split`` at the same seams."""
    if first.attributes.get_int("axis", 0) != second.attributes.get_int("axis", 0):
        return None
    if len(first.inputs) != len(second.outputs):
        return None
    pairs = zip(first.inputs, second.outputs, strict=True)
    same = all(one is not None and same_known_shape(one, other) for one, other in pairs)
    return True if same else None


def _joined_again(known: Known, first: ir.Node, second: ir.Node) -> Verdict:
    """``Split`` and a ``Concat`` of its pieces in their order."""
    axes = first.attributes.get_int("axis", 0), second.attributes.get_int("axis", 0)
    pieces = tuple(first.outputs) == tuple(second.inputs)
    return True if pieces and axes[0] == axes[1] else None


JUDGES: Mapping[tuple[str, str], Callable[[Known, ir.Node, ir.Node], Verdict]] = {
    ("Cast", "Cast"): _casts,
    ("Concat", "Split"): _split_back,
    ("Reshape", "Reshape"): _reshapes,
    ("Split", "Concat"): _joined_again,
    ("Transpose", "Transpose"): _transposes,
    **{(operator, operator): _both for operator in INVOLUTIONS},
    **{(operator, operator): _once for operator in IDEMPOTENT},
}
