"""The guard against rows of a softmax that are all masked, where no row can be.

PyTorch exports scaled dot-product attention with ``Where(IsNaN(softmax), 0, softmax)``: a row whose
logits are all minus infinity gives NaN, which is to count as zero. A mask of large finite numbers
gives none; but the guard costs two passes over the largest tensor of the network, and hides the
attention from the engines, which then run it as a dozen kernels.
"""

import onnx_ir as ir

from lepton_ai.graph.matching.products import scalar_of
from lepton_ai.graph.matching.rewiring import can_stand_for, stand_for
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.bounds import Bounds


class SoftmaxGuard(Rule):
    """A softmax of finite numbers is never NaN."""

    name = "softmax-guard"
    requires = (
        "the softmax's logits are finite: what layers compute from finite inputs, which is assumed "
        "to be finite, and masks that by how the graph builds them are"
    )
    ensures = "the softmax is read directly"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Drop every guard of a softmax that needs none."""
        bounds = Bounds()
        for graph in model.graphs():
            for node in graph:
                if node.op_type == "IsNaN" and node.domain == "":
                    _drop(node, bounds, ledger)


def _drop(test: ir.Node, bounds: Bounds, ledger: Ledger) -> None:
    softmax = test.inputs[0]
    made = None if softmax is None else softmax.producer()
    if softmax is None or made is None or made.op_type != "Softmax":
        return
    guards = [
        reader
        for reader, _ in test.outputs[0].uses()
        if reader.op_type == "Where" and list(reader.inputs[::2]) == [test.outputs[0], softmax]
    ]
    for guard in guards:
        nodes = [test, guard]
        if bounds.of(made.inputs[0]) is None:
            culprit = _unknown(made.inputs[0], bounds)
            ledger.miss(nodes, f"{culprit!r} may be infinite, by what the graph tells")
        elif not _is_small(guard.inputs[1], softmax) or not can_stand_for(
            softmax, guard.outputs[0]
        ):
            ledger.miss(nodes, "what it answers is not of the softmax's shape, or is an output")
        elif ledger.fire(str(softmax.name), nodes, "its logits are finite, so it is never NaN"):
            stand_for(softmax, guard.outputs[0])


def _is_small(value: ir.Value | None, softmax: ir.Value) -> bool:
    """Whether ``value`` is one number, which does not widen what it is chosen instead of."""
    if scalar_of(value) is None or value is None or value.shape is None:
        return False
    return len(value.shape) == 0 or (
        softmax.shape is not None and len(value.shape) <= len(softmax.shape)
    )


def _unknown(value: ir.Value | None, bounds: Bounds) -> str | None:
    """The first value behind ``value`` that nothing is known of."""
    made = None if value is None else value.producer()
    while made is not None and made.op_type in ("Add", "Sub", "Mul", "Div"):
        unknown = next((one for one in made.inputs if bounds.of(one) is None), None)
        if unknown is None:
            break
        value, made = unknown, unknown.producer()
    return None if value is None else value.name
