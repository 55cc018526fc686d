"""Weights and activations in int8, ranges from calibration samples, by NNCF.

NNCF reads the ONNX graph, decides where quantisers go from a model of what the engines fuse, and
corrects the biases that rounding shifts. It knows transformers as a kind of their own. A range is
the mean of what the calls reach, so that one call that goes astray does not set it.
"""

from collections.abc import Iterable
from pathlib import Path

import nncf  # type: ignore[import-untyped]
import onnx
from nncf.quantization.advanced_parameters import (  # type: ignore[import-untyped]
    AdvancedQuantizationParameters,
    OverflowFix,
    QuantizationParameters,
)
from nncf.quantization.range_estimator import (  # type: ignore[import-untyped]
    RangeEstimatorParameters,
)

from lepton_ai.compress.calibration import MOST_CALLS, Calls
from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.graph_file import compress_file, has_attention
from lepton_ai.engines.processor import int8_saturates
from lepton_ai.model.signature import Arrays

#: NNCF would give depth-wise convolutions a range per channel, which ONNX Runtime refuses to run.
ONE_RANGE_PER_ACTIVATION = QuantizationParameters(per_channel=False)


class Int8StaticNncf(Compressor):
    """NNCF's post-training quantisation of an ONNX graph."""

    name = "int8-static-nncf"
    #: How the ranges of activations follow from samples; nothing leaves it to NNCF.
    ranges: RangeEstimatorParameters | None = None

    def compress(self, source: Path, target: Path, calibration: Iterable[Arrays]) -> None:
        """Read ``source``, write it in int8 to ``target``, ranges taken from ``calibration``.

        Raises:
            ModelError: the graph is too large or too old, has nothing to quantise, or NNCF fails
                on it.
            DataError: ``calibration`` is empty.
        """

        def quantise(ready: Path, done: Path) -> None:
            model = onnx.load(ready)
            quantised = nncf.quantize(
                model,
                nncf.Dataset(Calls(calibration)),
                model_type=nncf.ModelType.TRANSFORMER if has_attention(model) else None,
                subset_size=MOST_CALLS,
                advanced_parameters=AdvancedQuantizationParameters(
                    activations_quantization_params=ONE_RANGE_PER_ACTIVATION,
                    activations_range_estimator_params=self.ranges or RangeEstimatorParameters(),
                    overflow_fix=OverflowFix.ENABLE if int8_saturates() else None,
                ),
            )
            onnx.save(quantised, done)

        compress_file(self.name, source, target, quantise)
