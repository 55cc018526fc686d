"""Weights in int8, activations rounded call by call."""

from lepton_ai.plan.advising.methods.int8 import Int8


class Int8Dynamic(Int8):
    """ONNX Runtime's dynamic quantisation: what its ``IntegerOpsRegistry`` has kernels for.

    Half of the gain goes into finding the range of each activation and widening each answer.
    Convolutions are quantised as well, and then usually slower than in fp32, so they count as
    nothing.
    """

    name = "int8-dynamic"
    what = "weights in int8, activations rounded call by call; no calibration"
    operators = frozenset({"Attention", "Gemm", "LSTM", "MatMul"})
    chance = 0.8
    yields = 0.6
