"""Root-mean-square normalisation written out, as the one operator that engines have a kernel for.

ONNX Runtime 1.32 and OpenVINO 2026.4 both have kernels of ``RMSNormalization``; it is standard from
opset 23 on, and nothing of what they fuse gets lost on the way there.
"""

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.normalized import (
    ROOTS,
    Normalized,
    normalized_by,
    normalized_sizes,
    scaled,
    weight_for,
)
from lepton_ai.graph.matching.written_out import WrittenOut
from lepton_ai.graph.rule import Ledger


class RmsNorm(WrittenOut):
    """Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019."""

    name = "rms-norm"
    requires = (
        "x / sqrt(mean(x^2) + epsilon) over the last axes is written out in float32 or float16 in "
        "a graph of opset 23 or later, and nothing else reads the steps"
    )
    ensures = "one RMSNormalization computes it, with the scale that follows"
    since = 23
    roots = ROOTS

    def fuse_at(self, graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
        """Fuse the normalisation whose root of the mean square is ``root``."""
        _fuse(graph, root, ledger)


def _fuse(graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
    found = normalized_by(root)
    if isinstance(found, str):
        ledger.miss([root], f"looks like RMS normalisation, but {found}")
    if not isinstance(found, Normalized) or _is_centred(found.value):
        return
    x, nodes = found.value, list(found.nodes)
    if x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        ledger.miss(nodes, f"RMSNormalization would compute {x.dtype} in float32")
        return
    if normalized_sizes(x, found.axis) is None:
        ledger.miss(nodes, "the sizes that it is over are not known")
        return
    scale = scaled(nodes[-1], found.axis, "Mul")
    nodes += [scale[0]] if scale else []
    if ledger.fire(str(nodes[-1].outputs[0].name), nodes, "is RMS normalisation"):
        weight = weight_for(graph, scale[1] if scale else None, x, found.axis)
        settings = {"axis": found.axis, "epsilon": found.epsilon}
        replace(nodes, [ir.node("RMSNormalization", [x, weight], settings)], nodes[-1])


def _is_centred(value: ir.Value) -> bool:
    """Whether ``value`` is something less its mean: then it is layer normalisation."""
    minus = value.producer()
    if minus is None or minus.op_type != "Sub" or minus.inputs[1] is None:
        return False
    mean = minus.inputs[1].producer()
    return mean is not None and mean.op_type == "ReduceMean"
