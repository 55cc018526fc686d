"""Weights in int8, activations rounded call by call."""

from dataclasses import replace

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import Estimate
from lepton_ai.plan.advising.methods.int8 import Int8
from lepton_ai.plan.advising.predicting import plain_ratio, share_of

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
#: How many times as long a convolution takes: a TCN took 3 times as long as a whole, MobileNetV2 4
#: in OpenVINO and 15 in ONNX Runtime (Xeon with AMX, two cores).
_SLOWER = 4.0
_LEAST_SHARE = 0.05


class Int8Dynamic(Int8):
    """ONNX Runtime's dynamic quantisation: what its ``IntegerOpsRegistry`` has kernels for.

    A part of the gain goes into finding the range of each activation and widening each answer.
    Convolutions are quantised as well, and are then slower than in fp32.
    """

    name = "int8-dynamic"
    what = "weights in int8, activations rounded call by call; no calibration"
    operators = frozenset({"Attention", "Gemm", "LSTM", "MatMul"})
    chance = 0.8
    yields = 0.6

    def predicted(self, facts: Facts) -> Estimate:
        """Amdahl's law, and what convolutions lose."""
        estimate = super().predicted(facts)
        share = share_of(facts.pieces, _CONVOLUTIONS)
        if share < _LEAST_SHARE:
            return estimate
        lost = plain_ratio(facts, facts.precisions) * share * (_SLOWER - 1)
        words = f"{share:.0%} is in convolutions, which it slows"
        return replace(estimate, ratio=estimate.ratio + lost, reasons=(*estimate.reasons, words))
