"""Weights and activations in int8, ranges from calibration samples, by ONNX Runtime.

The result is a graph of ``QuantizeLinear``/``DequantizeLinear`` pairs, which every engine fuses
into its own int8 kernels. Weights are signed, symmetric and per output channel; activations are
unsigned, one range per tensor, as the VNNI instructions want it. Without these, on x86, weights
have 7 bits (``reduce_range``).

What is quantised depends on the network. In a convolutional one everything between the
convolutions is, so that activations stay in int8 from one to the next. Elsewhere only what goes
into matrix products and embeddings is: masks of minus infinity, normalisations and residual sums do
not survive 8 bits, and neither do the products' own outputs, whose few outliers set the range
(MiniLM-L6: cosine of the logits 0.90 with the outputs in int8, 0.98 without).
"""

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static  # type: ignore[import-untyped]

from lepton_ai.compress.calibration import Reader
from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.graph_file import compress_file, float_type, has_attention
from lepton_ai.engines.processor import int8_saturates
from lepton_ai.errors import DataError
from lepton_ai.model.signature import Arrays

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
#: What is computed in int8, or passed through in it, between two convolutions.
BETWEEN_CONVOLUTIONS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


class Int8StaticOrt(Compressor):
    """ONNX Runtime's static quantisation."""

    name = "int8-static-ort"

    def compress(self, source: Path, target: Path, calibration: Iterable[Arrays]) -> None:
        """Read ``source``, write it in int8 to ``target``, ranges taken from ``calibration``.

        Raises:
            ModelError: the graph is too large or too old, has nothing to quantise, or the
                quantiser fails on it.
            DataError: ``calibration`` is empty.
        """

        def quantise(ready: Path, done: Path) -> None:
            try:
                _quantise(ready, done, calibration, per_channel=True)
            except DataError:
                raise
            except Exception:  # on some graphs per-channel scales raise, and one per tensor do not
                _quantise(ready, done, calibration, per_channel=False)

        compress_file(self.name, source, target, quantise)


def _quantise(ready: Path, done: Path, calibration: Iterable[Arrays], *, per_channel: bool) -> None:
    model = onnx.load(ready)
    convolutional = _is_convolutional(model)
    quantize_static(
        ready,
        done,
        Reader(calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*WEIGHTED, *(BETWEEN_CONVOLUTIONS if convolutional else ())],
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=int8_saturates(),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={
            "DefaultTensorType": float_type(model),
            "OpTypesToExcludeOutputQuantization": [] if convolutional else list(WEIGHTED),
        },
    )


def _is_convolutional(model: onnx.ModelProto) -> bool:
    operators = {node.op_type for node in model.graph.node}
    return bool(operators & {"Conv", "ConvTranspose"}) and not has_attention(model)
