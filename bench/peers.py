"""What other tools make of a graph: each a function from an ONNX file to an ONNX file."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import onnx


def onnxscript(source: Path, target: Path) -> None:
    """The ONNX project's optimizer with its defaults."""
    import onnx_ir
    from onnxscript import optimizer

    model = onnx_ir.load(source)
    optimizer.optimize(model)
    onnx_ir.save(model, target)


def onnxslim(source: Path, target: Path) -> None:
    """OnnxSlim with its defaults."""
    import onnxslim as tool

    with contextlib.redirect_stdout(io.StringIO()):
        tool.slim(str(source), str(target))


def onnxsim(source: Path, target: Path) -> None:
    """onnxsim with its defaults."""
    import onnxsim as tool

    onnx.save(tool.simplify(str(source))[0], target)


def onnxruntime(source: Path, target: Path) -> None:
    """ONNX Runtime's offline optimisation, at the level that keeps to standard operators."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "onnxscript": onnxscript,
    "OnnxSlim": onnxslim,
    "onnxsim": onnxsim,
    "ONNX Runtime": onnxruntime,
}
