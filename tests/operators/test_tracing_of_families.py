"""The families traced with a batch size that is a symbol: the same answers as NumPy's."""

import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.errors import MissingExtraError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespace import namespaces

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


X = normal(4, 4, 9, 8)
LINE = normal(4, 4, 10)
SQUARE = normal(3, 2, 3, 3)
LSTM = [normal(5, 4, 3), normal(2, 24, 3), normal(2, 24, 6), normal(2, 48)]
GRID = RNG.uniform(-1.5, 1.5, size=(4, 5, 3, 2)).astype(np.float32)
HALF = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
#: Operator, inputs, axes of the batch in those that are not known beforehand, attributes.
CASES = {
    "conv": ("Conv", [X, normal(6, 2, 3, 3), normal(6)], [0], {"group": 2, **HALF}),
    "conv-same": (
        "Conv",
        [X, normal(6, 4, 3, 3)],
        [0],
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    "conv-transpose": (
        "ConvTranspose",
        [X, normal(4, 3, 3, 3)],
        [0],
        {"group": 2, "output_padding": [1, 0], **HALF},
    ),
    "deform": ("DeformConv", [X, normal(6, 4, 2, 2), normal(4, 8, 8, 7)], [0, None, 0], {}),
    "col2im": ("Col2Im", [normal(4, 18, 12), np.array([5, 6]), np.array([3, 3])], [0], {}),
    "causal": (
        "CausalConvWithState",
        [LINE, normal(4, 1, 3), normal(4)],
        [0],
        {"activation": "silu"},
    ),
    "average": ("AveragePool", [X], [0], {"kernel_shape": [3, 3], "ceil_mode": 1, **HALF}),
    "max": ("MaxPool", [X], [0], {"kernel_shape": [3, 3], "ceil_mode": 1, **HALF}),
    "max-indices": ("MaxPool", [X], [0], {"kernel_shape": [3, 3], "outputs": 2, **HALF}),
    "lp": ("LpPool", [X], [0], {"kernel_shape": [2, 3], "p": 3}),
    "global-average": ("GlobalAveragePool", [X], [0], {}),
    "unpool": (
        "MaxUnpool",
        [X, np.arange(X.size).reshape(X.shape) * 4],
        [0, 0],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    "resize-linear": ("Resize", [X, None, np.array([1, 1, 2, 0.5], "f4")], [0], {"mode": "linear"}),
    "resize-cubic": (
        "Resize",
        [X, None, None, np.array([5, 12])],
        [0],
        {"mode": "cubic", "axes": [2, 3], "antialias": 1},
    ),
    "grid": ("GridSample", [X, GRID], [0, 0], {"padding_mode": "reflection"}),
    "affine": ("AffineGrid", [normal(4, 2, 3), np.array([4, 1, 5, 6])], [0], {}),
    "crop": ("CenterCropPad", [X, np.array([5, 12])], [0], {"axes": [2, 3]}),
    "batch-norm": ("BatchNormalization", [X, *normal(3, 4), abs(normal(4)) + 1], [0], {}),
    "layer-norm": ("LayerNormalization", [X, normal(8), normal(8)], [0], {"outputs": 3}),
    "group-norm": ("GroupNormalization", [X, *normal(2, 4)], [0], {"num_groups": 2}),
    "lrn": ("LRN", [X], [0], {"size": 3}),
    "gemm": ("Gemm", [normal(4, 3), normal(3, 5), normal(5)], [0], {"alpha": 0.5}),
    "matmul-integer": (
        "MatMulInteger",
        [X.astype(np.int8), normal(8, 5).astype(np.int8), np.array(1, np.int8)],
        [0],
        {},
    ),
    "conv-integer": (
        "ConvInteger",
        [X.astype(np.uint8), normal(2, 4, 3, 3).astype(np.int8), np.array(1, np.uint8)],
        [0],
        {},
    ),
    "einsum": ("Einsum", [X, normal(8, 5)], [0], {"equation": "bijk,kl->bil"}),
    "det": ("Det", [SQUARE], [0], {}),
    "dft": ("DFT", [normal(4, 9, 1), np.array(8)], [0], {"onesided": 1}),
    "stft": ("STFT", [normal(4, 50, 1), np.array(5), normal(16)], [0], {}),
    "lstm": ("LSTM", LSTM, [1], {"hidden_size": 6, "direction": "bidirectional", "outputs": 3}),
    "lstm-lengths": (
        "LSTM",
        [*LSTM, np.array([1, 5, 3, 2], np.int32)],
        [1, None, None, None, 0],
        {"hidden_size": 6, "direction": "bidirectional"},
    ),
    "gru": ("GRU", [LSTM[0], normal(1, 18, 3), normal(1, 18, 6)], [1], {"hidden_size": 6}),
    "roi-align": (
        "RoiAlign",
        [X, abs(normal(3, 4)) * 4, np.array([0, 3, 1])],
        [0, None, None],
        {"sampling_ratio": 2, "output_height": 2, "output_width": 3},
    ),
    "max-roi": (
        "MaxRoiPool",
        [X, np.array([[1, 0, 2, 5, 6]], "f4")],
        [0],
        {"pooled_shape": [2, 2]},
    ),
}


IMAGE = normal(2, 4, 16, 12)
#: The same for images whose height and width are symbols.
OF_ANY_SIZE = {
    "conv": ("Conv", [IMAGE, normal(6, 4, 3, 3)], HALF),
    "conv-transpose": ("ConvTranspose", [IMAGE, normal(4, 3, 3, 3)], HALF),
    "average": ("AveragePool", [IMAGE], {"kernel_shape": [3, 3], **HALF}),
    "max-indices": ("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "outputs": 2, **HALF}),
    "nearest": ("Resize", [IMAGE, None, np.array([1, 1, 2, 2], "f4")], {}),
    "linear": ("Resize", [IMAGE, None, np.array([1, 1, 0.5, 1], "f4")], {"mode": "linear"}),
    "cubic": ("Resize", [IMAGE, None, np.array([1, 1, 1.5, 0.6], "f4")], {"mode": "cubic"}),
    "to-size": (
        "Resize",
        [IMAGE, None, None, np.array([20, 9])],
        {"mode": "linear", "axes": [2, 3]},
    ),
    "grid": ("GridSample", [IMAGE, GRID[:2]], {"padding_mode": "border", "align_corners": 1}),
    "group-norm": ("GroupNormalization", [IMAGE, *normal(2, 4)], {"num_groups": 2}),
    "global-average": ("GlobalAveragePool", [IMAGE], {}),
}


def prepared(model_of_one_node, name):
    operator, inputs, batch, attributes = CASES[name]
    attributes = dict(attributes)
    opset = 27 if operator == "CausalConvWithState" else 22
    free = [i for i, axis in enumerate(batch) if axis is not None]
    known = [i for i, one in enumerate(inputs) if one is not None and i not in free]
    outputs = attributes.pop("outputs", 1)
    model = model_of_one_node(operator, inputs, opset, outputs, known=known, **attributes)
    return ir.from_proto(model), {f"x{i}": (inputs[i], batch[i]) for i in free}


def wanted_of(model, inputs):
    evaluation = Evaluation(model, namespaces.get("numpy")())
    return list(evaluation.run({name: one for name, (one, _) in inputs.items()}).values())


def check(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_pytorch_exports_it_for_any_batch(model_of_one_node, name):
    torch = pytest.importorskip("torch")
    namespace = namespaces.get("torch")()
    model, inputs = prepared(model_of_one_node, name)
    evaluation = Evaluation(model, namespace)

    class Graph(torch.nn.Module):
        def forward(self, *given):
            return tuple(evaluation.run(dict(zip(inputs, given, strict=True))).values())

    given = tuple(torch.from_numpy(np.array(one)) for one, _ in inputs.values())
    size = torch.export.Dim("batch", min=2, max=64)
    shapes = tuple({axis: size} for _, axis in inputs.values())
    program = torch.export.export(Graph(), given, dynamic_shapes=(shapes,))
    twice = {
        key: (np.concatenate([one, one], axis=axis), axis) for key, (one, axis) in inputs.items()
    }
    with torch.no_grad():
        found = program.module()(*(torch.from_numpy(one) for one, _ in twice.values()))
    check([one.numpy() for one in found], wanted_of(model, twice))


@pytest.mark.parametrize("name", CASES)
def test_jax_exports_it_for_any_batch(model_of_one_node, name):
    jax = pytest.importorskip("jax")
    try:
        namespace = namespaces.get("jax")()
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    model, inputs = prepared(model_of_one_node, name)
    evaluation = Evaluation(model, namespace)
    with jax.enable_x64(True):
        (size,) = jax.export.symbolic_shape("batch")
        shapes = {
            key: jax.ShapeDtypeStruct((*one.shape[:axis], size, *one.shape[axis + 1 :]), one.dtype)
            for key, (one, axis) in inputs.items()
        }
        program = jax.export.export(jax.jit(evaluation.run))(shapes)
        twice = {
            key: (np.concatenate([one, one], axis=axis), axis)
            for key, (one, axis) in inputs.items()
        }
        found = program.call({key: one for key, (one, _) in twice.items()})
        check([np.asarray(found[f"y{i}"]) for i in range(len(found))], wanted_of(model, twice))


def prepared_for_any_size(model_of_one_node, name):
    """A model, and an input of a size other than the one that it is traced with."""
    operator, inputs, attributes = OF_ANY_SIZE[name]
    attributes = dict(attributes)
    known = [i for i, one in enumerate(inputs) if i and one is not None]
    outputs = attributes.pop("outputs", 1)
    model = model_of_one_node(operator, inputs, 22, outputs, known=known, **attributes)
    return ir.from_proto(model), np.concatenate([IMAGE[:, :, ::-1, :], IMAGE], axis=2)[..., :9]


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_pytorch_exports_it_for_images_of_any_size(model_of_one_node, name):
    torch = pytest.importorskip("torch")
    model, other = prepared_for_any_size(model_of_one_node, name)
    evaluation = Evaluation(model, namespaces.get("torch")())

    class Graph(torch.nn.Module):
        def forward(self, x):
            return tuple(evaluation.run({"x0": x}).values())

    free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(Graph(), (torch.from_numpy(IMAGE),), dynamic_shapes=(free,))
    with torch.no_grad():
        found = program.module()(torch.from_numpy(other))
    check([one.numpy() for one in found], wanted_of(model, {"x0": (other, 0)}))


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_jax_exports_it_for_images_of_any_size(model_of_one_node, name):
    jax = pytest.importorskip("jax")
    from jax import export

    model, other = prepared_for_any_size(model_of_one_node, name)
    evaluation = Evaluation(model, namespaces.get("jax")())
    with jax.enable_x64(True):
        sizes = export.symbolic_shape("h, w", constraints=["h >= 8", "w >= 8"])
        shape = jax.ShapeDtypeStruct((*IMAGE.shape[:2], *sizes), IMAGE.dtype)
        found = export.export(jax.jit(evaluation.run))({"x0": shape}).call({"x0": other})
        answers = [np.asarray(found[f"y{i}"]) for i in range(len(found))]
    check(answers, wanted_of(model, {"x0": (other, 0)}))
