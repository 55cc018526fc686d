"""Small networks with weights that a quantiser can bite on, and samples for each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.graph.rewrite import rules_of
from lepton_ai.graph.rewriting import rewrite_graph


@dataclass
class Net:
    path: Path
    samples: list[dict[str, np.ndarray]]


class Builder:
    """Nodes and weights, added one after another."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(7)

    def weight(self, *shape: int, scale: float | None = None) -> str:
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        values = self.rng.normal(size=shape) * (scale or 1 / np.sqrt(max(fan_in, 1)))
        return self.constant(values.astype(np.float32))

    def constant(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def linear(self, x: str, width_in: int, width_out: int) -> str:
        product = self.op("MatMul", x, self.weight(width_in, width_out))
        return self.op("Add", product, self.weight(width_out, scale=0.1))

    def save(self, path: Path, inputs: list, output: str, shape: list, opset: int = 17) -> Path:
        self.nodes.append(helper.make_node("Identity", [output], ["y"], name="last"))
        graph = helper.make_graph(
            self.nodes,
            "net",
            inputs,
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            self.weights,
        )
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def _mlp(folder: Path) -> Net:
    b = Builder()
    x = b.op("Relu", b.linear("x", 64, 128))
    x = b.op("Relu", b.linear(x, 128, 128))
    out = b.op("Gemm", x, b.weight(10, 128), b.weight(10, scale=0.1), transB=1)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])]
    path = b.save(folder / "mlp.onnx", inputs, out, ["batch", 10])
    return Net(path, [{"x": b.rng.normal(size=(1, 64)).astype(np.float32)} for _ in range(32)])


def _conv(folder: Path) -> Net:
    b = Builder()
    x = b.op("Conv", "x", b.weight(16, 3, 3, 3), b.weight(16, scale=0.1), pads=[1, 1, 1, 1])
    ones, zeros = (b.constant(np.full(16, v, np.float32)) for v in (1.0, 0.0))
    x = b.op("Relu", b.op("BatchNormalization", x, ones, zeros, zeros, ones))
    y = b.op("Relu", b.op("Conv", x, b.weight(16, 16, 3, 3), pads=[1, 1, 1, 1]))
    y = b.op("Relu", b.op("Conv", y, b.weight(16, 1, 3, 3), pads=[1, 1, 1, 1], group=16))
    y = b.op("Conv", y, b.weight(16, 16, 3, 3), pads=[1, 1, 1, 1])
    x = b.op("Relu", b.op("Add", x, y))
    x = b.op("Conv", x, b.weight(32, 16, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    x = b.op("Flatten", b.op("GlobalAveragePool", b.op("Relu", x)))
    out = b.op("Gemm", x, b.weight(10, 32), b.weight(10, scale=0.1), transB=1)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])]
    path = b.save(folder / "conv.onnx", inputs, out, ["n", 10])
    rng = b.rng
    return Net(path, [{"x": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(32)])


def _attend(b: Builder, x: str, width: int, heads: int) -> str:
    shape = b.constant(np.array([0, 0, heads, width // heads], np.int64))
    query, key, value = (
        b.op("Transpose", b.op("Reshape", b.linear(x, width, width), shape), perm=perm)
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = b.op("MatMul", query, key)
    scores = b.op("Mul", scores, b.constant(np.array((width // heads) ** -0.5, np.float32)))
    seen = b.op("MatMul", b.op("Softmax", b.op("Add", scores, "mask_added"), axis=-1), value)
    seen = b.op("Transpose", seen, perm=[0, 2, 1, 3])
    flat = b.op("Reshape", seen, b.constant(np.array([0, 0, width], np.int64)))
    return b.linear(flat, width, width)


def _normal(b: Builder, x: str, width: int) -> str:
    ones, zeros = (b.constant(np.full(width, v, np.float32)) for v in (1.0, 0.0))
    return b.op("LayerNormalization", x, ones, zeros, axis=-1)


def _transformer(folder: Path) -> Net:
    b, width = Builder(), 64
    one, most = b.constant(np.array(1.0, np.float32)), b.constant(np.array(-1e9, np.float32))
    mask = b.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    mask = b.op("Unsqueeze", mask, b.constant(np.array([1, 2], np.int64)))
    masked = b.op("Mul", b.op("Sub", one, mask), most)
    b.nodes.append(helper.make_node("Identity", [masked], ["mask_added"], name="mask_added"))
    x = _normal(b, b.op("Gather", b.weight(300, width, scale=1.0), "input_ids"), width)
    for _ in range(2):
        x = _normal(b, b.op("Add", x, _attend(b, x, width, 4)), width)
        inner = b.linear(x, width, 4 * width)
        half = b.constant(np.array(0.5, np.float32))
        root = b.constant(np.array(2**-0.5, np.float32))
        bent = b.op("Add", b.op("Erf", b.op("Mul", inner, root)), one)
        inner = b.op("Mul", b.op("Mul", inner, bent), half)
        x = _normal(b, b.op("Add", x, b.linear(inner, 4 * width, width)), width)
    first = b.op("Gather", x, b.constant(np.array(0, np.int64)), axis=1)
    out = b.linear(first, width, 5)
    sizes = ["batch", "tokens"]
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, sizes) for n in names]
    path = b.save(folder / "transformer.onnx", inputs, out, ["batch", 5])
    samples = []
    for _ in range(32):
        ids = b.rng.integers(0, 300, (1, int(b.rng.integers(4, 12))))
        samples.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return Net(path, samples)


def _fused(folder: Path) -> Net:
    net = _transformer(folder)
    fused = folder / "fused.onnx"
    model, done = rewrite_graph(load_graph(net.path), rules_of("fuse-attention"))
    assert any(firing.rule == "fuse-attention" for firing in done.fired)
    save_graph(model, fused)
    return Net(fused, net.samples)


BUILDERS: dict[str, Callable[[Path], Net]] = {
    "mlp": _mlp,
    "conv": _conv,
    "transformer": _transformer,
    "fused": _fused,
}


@pytest.fixture(scope="session", params=list(BUILDERS))
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Net:
    return BUILDERS[request.param](tmp_path_factory.mktemp("net"))


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Net]:
    return lambda kind: BUILDERS[kind](tmp_path)


@pytest.fixture
def builder() -> Builder:
    return Builder()
