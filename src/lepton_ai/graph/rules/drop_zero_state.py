"""Recurrent layers that are told to begin at zero, as they do untold."""

import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.rule import Ledger, Rule

#: Where the initial state stands among the inputs; LSTM has a second one, of its cell.
STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}


class DropZeroState(Rule):
    """Exporters build the zero state from the batch's size, which takes a handful of nodes."""

    name = "drop-zero-state"
    requires = "the initial state of an RNN, GRU or LSTM is zero throughout"
    ensures = "the layer is left to begin at zero by itself"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Drop every initial state that is zero."""
        for graph in model.graphs():
            for node in graph:
                for index in STATES.get(node.op_type, ()) if node.domain == "" else ():
                    state = node.inputs[index] if index < len(node.inputs) else None
                    if state is None:
                        continue
                    if not _is_zero(state):
                        ledger.miss([node], f"the initial state {state.name!r} is not zero")
                    elif ledger.fire(f"{node.outputs[0].name}:{index}", [node], "begins at zero"):
                        node.replace_input_with(index, None)


def _is_zero(value: ir.Value) -> bool:
    made = value.producer()
    if made is not None and made.op_type == "ConstantOfShape" and made.domain == "":
        fill = made.attributes.get("value")
        return fill is None or not fill.as_tensor().numpy().any()
    if made is not None and made.op_type in ("Expand", "Unsqueeze", "Slice", "Identity", "Reshape"):
        return made.inputs[0] is not None and _is_zero(made.inputs[0])
    constant = constant_of(value)
    return constant is not None and constant.size > 0 and not constant.any()
