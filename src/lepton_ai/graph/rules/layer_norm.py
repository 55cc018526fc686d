"""Layer normalisation written out, as the one operator that engines have a kernel for."""

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.normalized import (
    ROOTS,
    Normalized,
    normalized_by,
    normalized_sizes,
    scaled,
    trailing_axis,
    weight_for,
)
from lepton_ai.graph.matching.written_out import WrittenOut
from lepton_ai.graph.rule import Ledger


class LayerNorm(WrittenOut):
    """Ba et al., "Layer Normalization", 2016: seven to nine passes over a tensor become one."""

    name = "layer-norm"
    requires = (
        "(x - mean) / sqrt(variance + epsilon) over the last axes is written out in float32 or "
        "float16 in a graph of opset 17 or later, and nothing else reads the steps"
    )
    ensures = "one LayerNormalization computes it, with the scale and bias that follow"
    since = 17
    roots = ROOTS

    def fuse_at(self, graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
        """Fuse the normalisation whose root of the variance is ``root``."""
        _fuse(graph, root, ledger)


def _fuse(graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
    found = normalized_by(root)
    if isinstance(found, str):
        ledger.miss([root], f"looks like layer normalisation, but {found}")
        return
    centred = None if found is None else _centred(found)
    if found is None or centred is None:
        return
    x, mean, minus = centred
    nodes = [mean, minus, *found.nodes]
    why = _unfit(x, found)
    if why:
        ledger.miss(nodes, why)
        return
    scale = scaled(nodes[-1], found.axis, "Mul")
    nodes += [scale[0]] if scale else []
    bias = scaled(nodes[-1], found.axis, "Add")
    nodes += [bias[0]] if bias else []
    if ledger.fire(str(nodes[-1].outputs[0].name), nodes, "is layer normalisation"):
        weights = [weight_for(graph, scale[1] if scale else None, x, found.axis)]
        if bias:
            weights.append(weight_for(graph, bias[1], x, found.axis))
        settings = {"axis": found.axis, "epsilon": found.epsilon}
        replace(nodes, [ir.node("LayerNormalization", [x, *weights], settings)], nodes[-1])


def _unfit(x: ir.Value, found: Normalized) -> str:
    """Why no LayerNormalization can take the place; empty if one can."""
    if x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return f"LayerNormalization would compute {x.dtype} in float32"
    if normalized_sizes(x, found.axis) is None:
        return "the sizes that it is over are not known"
    centred, minus = {reader for reader, _ in found.value.uses()}, found.value.producer()
    if minus is None or not centred <= set(found.nodes) or found.value.is_graph_output():
        return "the centred values are read elsewhere too"
    return ""


def _centred(found: Normalized) -> tuple[ir.Value, ir.Node, ir.Node] | None:
    """``x`` with its mean and the subtraction, if what is normalised is ``x`` less its mean."""
    minus = found.value.producer()
    if minus is None or minus.op_type != "Sub" or minus.domain != "":
        return None
    x, mean_value = minus.inputs
    mean = None if mean_value is None else mean_value.producer()
    if x is None or mean is None or mean.op_type != "ReduceMean" or mean.inputs[0] is not x:
        return None
    alone = {reader for reader, _ in mean.outputs[0].uses()} == {minus}
    same = alone and not mean.outputs[0].is_graph_output() and trailing_axis(mean) == found.axis
    return (x, mean, minus) if same and mean.graph is minus.graph else None
