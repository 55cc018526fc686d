"""Terms of a sum that are zero in every call, such as masks that mask nothing."""

import onnx_ir as ir

from lepton_ai.graph.matching.rewiring import can_stand_for, stand_for
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.bounds import Bounds
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import same

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})


class DropZeroTerm(Rule):
    """Exporters write out a mask where there is none: ``where(0 <= position, 0, lowest)``."""

    name = "drop-zero-term"
    requires = "what is added is zero by how the graph builds it, and does not widen the sum"
    ensures = "it is not added, nor built if nothing else reads it"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Drop every sum with zero."""
        bounds, known = Bounds(), None
        for graph in model.graphs():
            for node in graph:
                if node.op_type != "Add" or node.domain != "":
                    continue
                kept = _kept(node, bounds)
                if kept is None:
                    continue
                known = known or KnownSizes(model)
                out = node.outputs[0]
                if not same(known.shape(kept), known.shape(out)):
                    ledger.miss([node], "adds zero, but may widen what it is added to")
                elif not can_stand_for(kept, out):
                    ledger.miss([node], "adds zero to an input or output, to answer it")
                elif ledger.fire(str(out.name), [node], "adds what is zero in every call"):
                    stand_for(kept, out)


def _kept(node: ir.Node, bounds: Bounds) -> ir.Value | None:
    """The operand of a sum whose other operand is zero."""
    left, right = node.inputs
    if left is None or right is None or left.dtype not in FLOATS:
        return None
    for value, zero in ((left, right), (right, left)):
        if _is_cheap_to_read(zero) and bounds.of(zero) == (0.0, 0.0):
            return value
    return None


def _is_cheap_to_read(value: ir.Value) -> bool:
    """Whether ``value`` is built rather than learnt: large weights are not read for this."""
    made = value.producer()
    if made is not None:
        return made.op_type in ("Where", "Expand", "Unsqueeze", "Mul", "Cast", "Constant")
    return value.shape is not None and len(value.shape) >= 4
