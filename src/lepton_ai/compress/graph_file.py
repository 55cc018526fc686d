"""What the quantisers share: a graph they can take, and a result that is kept only if it is one."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

from lepton_ai.errors import ModelError, UserError
from lepton_ai.formats.quiet import quiet

#: A protobuf message ends at 2 GiB, and the quantisers work on one message.
MOST_BYTES = 2_000_000_000
#: ``QuantizeLinear`` per channel came with this opset.
LEAST_OPSET = 13
#: Operators that say that a graph is quantised.
QUANTISED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "DynamicQuantizeLSTM",
        "ConvInteger",
        "MatMulInteger",
        "QAttention",
        "QLinearConv",
        "QLinearMatMul",
    }
)
#: Attention as one node, in ONNX's own domain and in ONNX Runtime's.
FUSED_ATTENTION = frozenset({"Attention", "GroupQueryAttention", "MultiHeadAttention"})

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)

#: Takes the prepared graph's file; writes a quantised graph to the second file.
Quantise = Callable[[Path, Path], None]


def compress_file(name: str, source: Path, target: Path, quantise: Quantise) -> None:
    """Prepare ``source``, quantise it, and keep the result as ``target`` if it is smaller.

    Everything happens in a temporary folder; ``target`` appears whole or not at all.

    Raises:
        ModelError: the graph is too large, too old, quantised already, has nothing to quantise,
            or the algorithm fails on it.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-compress-") as folder, quiet():
        ready, done = prepare(source, Path(folder)), Path(folder) / "done.onnx"
        try:
            quantise(ready, done)
        except UserError:
            raise
        except Exception as failure:  # the quantisers raise whatever they happen to
            raise ModelError(
                f"{name} cannot quantise {source.name}: {type(failure).__name__}: {failure}"
            ) from failure
        _check(name, source, done)
        publish(done, target)


def prepare(source: Path, folder: Path) -> Path:
    """The graph at ``source`` as quantisers take it, in ``folder``: folded, each node with a name.

    Raises:
        ModelError: the graph is too large or too old, or quantised already.
    """
    model = load_floats(source)
    ready = folder / "ready.onnx"
    _fold(model, folder, ready)
    _finish(ready)
    return ready


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether any node of ``model`` computes in integers or converts to them."""
    return any(node.op_type in QUANTISED for node in model.graph.node)


def float_type(model: onnx.ModelProto) -> int:
    """The float type that most weights have: what a tensor of unknown type is taken for.

    Shape inference does not know every operator, and what comes out of one has no type until then.
    """
    counts = Counter(weight.data_type for weight in model.graph.initializer)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    return half if counts[half] > counts[single] else single


def has_attention(model: onnx.ModelProto) -> bool:
    """Whether ``model`` attends: a softmax, and a product of two computed matrices."""
    operators = {node.op_type for node in model.graph.node}
    if operators & FUSED_ATTENTION:
        return True
    computed = {name for node in model.graph.node for name in node.output}
    products = (node for node in model.graph.node if node.op_type in ("MatMul", "Einsum"))
    return "Softmax" in operators and any(computed.issuperset(node.input) for node in products)


def load_floats(source: Path) -> onnx.ModelProto:
    """The network at ``source``, in floating point and of an opset that has int8.

    Raises:
        ModelError: it cannot be read, or is too large, too old or quantised already.
    """
    try:
        skeleton = onnx.load(source, load_external_data=False)
        if _total_bytes(source, skeleton) > MOST_BYTES:
            raise ModelError(
                f"{source.name} holds more than {MOST_BYTES / 1e9:.0f} GB, which no quantiser here "
                "takes in one piece; quantise a smaller network, or keep this one in fp32 or bf16"
            )
        model = onnx.load(source)
    except ModelError:
        raise
    except Exception as failure:  # protobuf and onnx raise whatever they happen to
        raise ModelError(f"{source} cannot be read as an ONNX graph: {failure}") from failure
    if is_quantised(model):
        raise ModelError(f"{source.name} is quantised already; give the floating-point network")
    return _with_opset(source, model)


def _total_bytes(source: Path, skeleton: onnx.ModelProto) -> int:
    beside = {
        source.parent / entry.value
        for weight in skeleton.graph.initializer
        for entry in weight.external_data
        if entry.key == "location"
    }
    return sum(path.stat().st_size for path in (source, *beside))


def _with_opset(source: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset >= LEAST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, LEAST_OPSET)
    except Exception as failure:  # the converter's C++ raises bare RuntimeErrors
        raise ModelError(
            f"{source.name} is of opset {opset}, int8 wants {LEAST_OPSET} or later, and it cannot "
            f"be converted ({failure}); export it again with opset {LEAST_OPSET} or later"
        ) from failure


def _fold(model: onnx.ModelProto, folder: Path, ready: Path) -> None:
    """Fold constants and batch normalisation, and infer shapes.

    A tensor whose type is not known cannot be quantised. ONNX's symbolic inference is skipped: on
    these graphs it finds nothing that ONNX Runtime's own inference has not, and it fails on some.
    """
    taken = folder / "taken.onnx"
    onnx.save(model, taken)
    try:
        quant_pre_process(taken, ready, skip_symbolic_shape=True)
    except Exception:  # what follows may still take the graph as it came
        shutil.copyfile(taken, ready)


def _finish(ready: Path) -> None:
    """What ONNX Runtime's folding leaves: factors of Gemm, and nodes without a name."""
    model = onnx.load(ready)
    _fold_factors(model)
    _name_nodes(model)
    onnx.save(model, ready)


def _fold_factors(model: onnx.ModelProto) -> None:
    """Put the factors alpha and beta of each Gemm into its weight and its bias.

    ONNX Runtime's static quantiser takes beta for 1, and its dynamic one leaves such a Gemm alone.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gemm" or node.domain not in ("", "ai.onnx"):
            continue
        factors = {each.name: each for each in node.attribute if each.name in ("alpha", "beta")}
        for place, name in ((1, "alpha"), (2, "beta")):
            factor = factors.get(name)
            if factor is None or factor.f == 1.0 or len(node.input) <= place:
                continue
            weight = weights.get(node.input[place])
            if weight is not None and weight.data_type in _FLOATS:
                node.input[place] = _scaled(model, weight, factor.f)
                factor.f = 1.0


def _scaled(model: onnx.ModelProto, weight: onnx.TensorProto, factor: float) -> str:
    values = numpy_helper.to_array(weight)
    scaled = (values * np.asarray(factor, dtype=values.dtype)).astype(values.dtype)
    name = f"{weight.name}/times {factor:g}"
    if all(each.name != name for each in model.graph.initializer):
        model.graph.initializer.append(numpy_helper.from_array(scaled, name))
    return name


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give each node a name of its own, by which it can be kept in floating point."""
    counts = Counter(node.name for node in model.graph.node)
    nameless = [node for node in model.graph.node if not node.name or counts[node.name] > 1]
    for place, node in enumerate(nameless):
        name = f"{node.op_type}_{place}"
        while name in counts:
            name += "_"
        node.name = name
        counts[name] += 1


def _check(name: str, source: Path, done: Path) -> None:
    """Raise :class:`ModelError` unless ``done`` is quantised, and smaller for it."""
    if not done.exists() or not is_quantised(onnx.load(done, load_external_data=False)):
        raise ModelError(
            f"{name} found nothing to quantise in {source.name}: it looks for matrix products, "
            "convolutions and embeddings whose weights are stored in floating point"
        )
    check_smaller(name, source, done)


def check_smaller(name: str, source: Path, done: Path) -> None:
    """Raise :class:`ModelError` unless ``done`` takes fewer bytes than ``source``."""
    before = _total_bytes(source, onnx.load(source, load_external_data=False))
    after = done.stat().st_size
    if after >= before:
        raise ModelError(
            f"{name} would grow {source.name} from {before} to {after} bytes: it has too few "
            "weights for fewer bits to save any"
        )


def publish(done: Path, target: Path) -> None:
    """Move ``done`` to ``target``, which appears whole or not at all."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        shutil.copyfile(done, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
