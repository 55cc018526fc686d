"""What merging at one node needs: the graph around it, and the ledger to ask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight
from lepton_ai.graph.matching.rewiring import can_stand_for, remove_dead, stand_for
from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.values.operands import is_standard, operand
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.model.signature import Array


@dataclass(frozen=True)
class Chain:
    """A node and the node that computes its first input."""

    node: ir.Node
    before: ir.Node
    known: KnownSizes
    ledger: Ledger
    opset: int

    @property
    def source(self) -> ir.Value | None:
        """What goes into the pair."""
        return operand(self.before, 0)

    @property
    def answer(self) -> ir.Value:
        """What comes out of the pair."""
        return self.node.outputs[0]

    def miss(self, why: str) -> bool:
        """Note why the pair stays, which is not a change."""
        self.ledger.miss([self.before, self.node], why)
        return False

    def fire(self, why: str) -> bool:
        """Whether the pair may be merged."""
        between = self.before.outputs[0].name
        site = f"{self.answer.name}<{between}"
        return self.ledger.fire(site, [self.before, self.node], why)

    def hand_on(self, value: ir.Value | None, why: str) -> bool:
        """Let ``value`` stand for the answer; whether it does."""
        if value is None or not can_stand_for(value, self.answer):
            return self.miss(f"{why}, but an output has to be computed by a node")
        if not self.fire(why):
            return False
        stand_for(value, self.answer)
        remove_dead(self.node)
        return True

    def read(self, value: ir.Value | None) -> None:
        """Let the node read ``value`` in place of what comes before it."""
        self.node.replace_input_with(0, value)
        remove_dead(self.before)


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads ``value``, once, if there is one and no output does."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def become(
    node: ir.Node, operator: str, inputs: Sequence[ir.Value | None], **given: int | list[int]
) -> None:
    """Make ``node`` another operator, with the same answer under the same name."""
    node.op_type = operator
    node.attributes.clear()
    for name, numbers in given.items():
        node.attributes.add(ir.Attr(name, _kind(numbers), numbers))
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)


def _kind(value: int | list[int]) -> ir.AttributeType:
    return ir.AttributeType.INT if isinstance(value, int) else ir.AttributeType.INTS


def row(node: ir.Node, kind: str, numbers: Sequence[int]) -> ir.Value:
    """A row of integers as a weight beside ``node``."""
    return weight(node, kind, np.array(numbers, dtype=np.int64))


def weight(node: ir.Node, kind: str, values: Array) -> ir.Value:
    """A new weight beside ``node``, named after its answer."""
    if node.graph is None:
        raise ValueError(f"node {node.name!r} is in no graph")
    return add_weight(node.graph, f"{node.outputs[0].name}_{kind}", values)


def through(node: ir.Node) -> int | None:
    """Which input ``node`` changes element by element, if that is all it does."""
    if is_standard(node, *UNARY):
        return 0
    if not is_standard(node, *WITH_NUMBERS):
        return None
    # The others are lone numbers of no axes, so that the shape is that of the one alone.
    rest = [index for index, value in enumerate(node.inputs) if not _is_number(value)]
    swapped = node.op_type in ("Add", "Mul") and rest == [1]
    return rest[0] if rest == [0] or swapped else None


def _is_number(value: ir.Value | None) -> bool:
    if value is None:
        # An optional input that was left out.
        return True
    tensor = ir.convenience.get_const_tensor(value)
    return tensor is not None and len(tensor.shape) == 0 and not value.is_graph_input()


WITH_NUMBERS = ("Add", "Clip", "Div", "Max", "Min", "Mul", "Pow", "Sub")
UNARY = [
    "Abs",
    "Ceil",
    "Celu",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "Cast",
    "Identity",
    "ThresholdedRelu",
]
