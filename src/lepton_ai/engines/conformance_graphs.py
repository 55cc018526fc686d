"""Small graphs that every engine is tried on: one per dtype and per way that graphs surprise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ai.model.signature import Array, Arrays

if TYPE_CHECKING:  # the base install, which runs bundles, has no onnx_ir
    import onnx_ir as ir

#: The graph that an engine must take; it may refuse others in a sentence.
REQUIRED = "dense"
#: The one that is loaded again and again: its weights make a leak of them 4 MiB a time.
HEAVY = "heavy"
#: Sizes of the calls: a batch of one, of many, and of one again; lengths that differ.
SIZES = (
    {"n": 1, "t": 5, "h": 12, "w": 9},
    {"n": 3, "t": 7, "h": 16, "w": 16},
    {"n": 17, "t": 1, "h": 9, "w": 20},
    {"n": 1, "t": 16, "h": 12, "w": 12},
)
_HEAD = '<ir_version: 9, opset_import: ["" : 18, "org.example" : 1]>'
_BROAD = 1024
_MEAN_WIDTH = 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """A graph with calls of several sizes.

    ``rows`` are the inputs whose first axis is the batch; ``rtol`` takes the place of what the
    outputs' dtypes allow.
    """

    name: str
    path: Path
    calls: tuple[Arrays, ...]
    rows: tuple[str, ...]
    rtol: float | None = None

    @property
    def empty(self) -> Arrays | None:
        """The first call with no rows; ``None`` where the batch is fixed."""
        if not self.rows:
            return None
        first = self.calls[0]
        return {name: array[:0] if name in self.rows else array for name, array in first.items()}


@dataclass(frozen=True, kw_only=True)
class _Graph:
    text: str
    weights: Callable[[np.random.Generator], Mapping[str, Array]] = lambda rng: {}
    rtol: float | None = None


def write_cases(folder: Path) -> Iterator[Case]:
    """The built-in graphs, written into ``folder``, with their calls; the required one first."""
    for name, graph in _GRAPHS.items():
        path = _write(folder, name, graph)
        yield read_case(path, name=name, sizes=SIZES, rtol=graph.rtol)


def write_unknown(folder: Path) -> Path:
    """A graph with an operator that nobody has, ``org.example.Frobnicate``."""
    body = "(float[n, 4] x) => (float[n, 4] y) { y = org.example.Frobnicate (x) }"
    return _write(folder, "unknown", _Graph(text=body))


def read_case(
    path: Path,
    *,
    name: str = "",
    sizes: tuple[Mapping[str, int], ...] | None = None,
    rtol: float | None = None,
) -> Case:
    """The graph at ``path`` with generated calls.

    Raises:
        ModelError: the file is not an ONNX graph, or its inputs cannot be made up.
    """
    from lepton_ai.graph.applying import free_inputs
    from lepton_ai.graph.feeding.feeds import generate
    from lepton_ai.graph.onnx_file import load_graph

    model = load_graph(path)
    calls = generate(model, sizes=sizes)
    return Case(
        name=name or path.stem,
        path=path,
        calls=tuple(calls),
        rows=tuple(_rows(free_inputs(model))),
        rtol=rtol,
    )


def _rows(inputs: list[ir.Value]) -> Iterator[str]:
    """The inputs whose first axis has the same free size as the first input's."""
    import onnx_ir as ir

    batch = None
    for value in inputs:
        size = value.shape[0] if value.shape is not None and len(value.shape) else None
        if isinstance(size, ir.SymbolicDim) and size.value and batch in (None, size.value):
            batch = size.value
            yield str(value.name)


def _write(folder: Path, name: str, graph: _Graph) -> Path:
    import onnx
    from onnx import numpy_helper, parser

    model = parser.parse_model(f"{_HEAD} {name} {graph.text}")
    for weight, array in graph.weights(np.random.default_rng(7)).items():
        model.graph.initializer.append(numpy_helper.from_array(array, weight))
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path


def _normal(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Array:
    """Weights that keep the scale of what they are multiplied with."""
    return np.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), dtype)


def _quantized(rng: np.random.Generator) -> dict[str, Array]:
    return {
        "w": rng.integers(-127, 128, (_MEAN_WIDTH, 8)).astype(np.int8),
        "w_scale": np.array(2.0**-8, np.float32),
        "x_scale": np.array(2.0**-5, np.float32),
        "y_scale": np.array(2.0**-4, np.float32),
        "zero": np.array(0, np.int8),
    }


_GRAPHS = {
    "dense": _Graph(
        text="""(float[n, 16] x) => (float[n, 8] y, int64[n] k) {
            h = MatMul (x, w)
            y = Softmax <axis = -1> (h)
            k = ArgMax <axis = -1, keepdims = 0> (h)
        }""",
        weights=lambda rng: {"w": _normal(rng, 16, 8)},
    ),
    "heavy": _Graph(
        text="""(float[n, 1024] x) => (float[n, 1024] y) {
            h = MatMul (x, w)
            y = Relu (h)
        }""",
        weights=lambda rng: {"w": _normal(rng, _BROAD, _BROAD)},
    ),
    "half": _Graph(
        text="""(float16[n, 16] x) => (float16[n, 8] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            y = Relu (h)
        }""",
        weights=lambda rng: {
            "w": _normal(rng, 16, 8, dtype=np.float16),
            "b": _normal(rng, 8, dtype=np.float16),
        },
    ),
    "integers": _Graph(
        text="""(int64[n, t] ids) => (float[n, t, 4] y, int64[n, t] next) {
            y = Gather (table, ids)
            next = Add (ids, one)
        }""",
        weights=lambda rng: {"table": _normal(rng, 9, 4), "one": np.array(1)},
    ),
    "booleans": _Graph(
        text="""(float[n, 4] x, bool[n, 4] keep) => (bool[n, 4] both, float[n, 4] y) {
            positive = Greater (x, zero)
            both = And (positive, keep)
            y = Where (both, x, zero)
        }""",
        weights=lambda rng: {"zero": np.array(0, np.float32)},
    ),
    # A value that lies between two steps may be rounded to either, in the middle and at the end:
    # two steps of the output, whose largest value is a hundred of them or more.
    "int8": _Graph(
        text="""(float[n, 16] x) => (float[n, 8] y) {
            xq = QuantizeLinear (x, x_scale, zero)
            xf = DequantizeLinear (xq, x_scale, zero)
            wf = DequantizeLinear (w, w_scale, zero)
            h = MatMul (xf, wf)
            hq = QuantizeLinear (h, y_scale, zero)
            y = DequantizeLinear (hq, y_scale, zero)
        }""",
        weights=_quantized,
        rtol=2e-2,
    ),
    "sizes": _Graph(
        text="""(float[n, t, 8] x) => (float[n, m] flat, float[t, n] mean) {
            shape = Shape (x)
            rows = Slice (shape, zero, one)
            target = Concat <axis = 0> (rows, rest)
            flat = Reshape (x, target)
            turned = Transpose <perm = [1, 0, 2]> (x)
            mean = ReduceMean <keepdims = 0> (turned, two)
        }""",
        weights=lambda rng: {
            "zero": np.array([0]),
            "one": np.array([1]),
            "two": np.array([2]),
            "rest": np.array([-1]),
        },
    ),
    "pictures": _Graph(
        text="""(float[n, 3, h, w] x) => (float[n, 4, h2, w2] y, float[n, 4, 1, 1] pooled) {
            c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x, k, b)
            y = Relu (c)
            pooled = GlobalAveragePool (y)
        }""",
        weights=lambda rng: {"k": _normal(rng, 4, 3, 3, 3), "b": _normal(rng, 4)},
    ),
    # A scalar stays a scalar, and outputs keep their names where nodes between fold away.
    "scalars": _Graph(
        text="""(float[n, 4] x, float s) => (float[n, 4] y, float[n, 4] z) {
            a = Mul (x, s)
            y = Identity (a)
            z = Identity (a)
        }""",
    ),
    "branches": _Graph(
        text="""(float[n, 4] x) => (float[n, 4] y) {
            sum = ReduceSum <keepdims = 0> (x)
            positive = Greater (sum, zero)
            y = If (positive) <
                then_branch = kept () => (float[n, 4] a) { a = Relu (x) },
                else_branch = turned () => (float[n, 4] b) { b = Neg (x) }
            >
        }""",
        weights=lambda rng: {"zero": np.array(0, np.float32)},
    ),
    "loops": _Graph(
        text="""(float[n, 4] x, int64 times) => (float[n, 4] y) {
            y = Loop (times, on, x) <
                body = step (int64 i, bool go, float[n, 4] a) => (bool again, float[n, 4] b) {
                    again = Identity (go)
                    half = Mul (a, rate)
                    b = Add (half, x)
                }
            >
        }""",
        weights=lambda rng: {"on": np.array(True), "rate": np.array(0.5, np.float32)},
    ),
}
