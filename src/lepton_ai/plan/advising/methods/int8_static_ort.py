"""Weights and activations in int8, by ONNX Runtime's quantiser."""

from dataclasses import replace

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import Estimate
from lepton_ai.plan.advising.methods.int8 import Int8
from lepton_ai.plan.mixing import decibels


class Int8StaticOrt(Int8):
    """ONNX Runtime's static quantisation, which every advice tries if the time allows it."""

    name = "int8-static-ort"
    what = "weights and activations in int8, ranges from samples"
    operators = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
    chance = 0.6

    def estimate(self, facts: Facts) -> Estimate:
        """As for every quantiser, with the ratio of signal to noise that it leaves."""
        estimate = super().estimate(facts)
        if facts.noise is None or facts.noise.compressor != self.name:
            return estimate
        words = f"{decibels(facts.noise.whole)} of signal to noise are left in the answers"
        return replace(estimate, reasons=(*estimate.reasons, words))
