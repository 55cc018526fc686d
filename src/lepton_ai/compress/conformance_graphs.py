"""Small networks that every compressor is tried on: a convolutional, an attending, a recurrent one.

Their weights are random and large enough to quantise; the sizes of a call are free.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from lepton_ai.model.signature import Array, Arrays

#: The network that a compressor must take; it may refuse others in a sentence.
REQUIRED = "convolutional"
CALLS = 24
_HEAD = '<ir_version: 8, opset_import: ["" : 17]> '
_WIDTH, _HEADS, _WORDS, _CLASSES = 64, 4, 400, 6
_CONVOLUTIONAL = """g (float[n, 3, 16, 16] x) => (float[n, 6] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, w2)  d = Relu (c)
    e = Conv <pads = [1, 1, 1, 1]> (d, w3)  f = Add (e, b)  h = Relu (f)
    i = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (h, w4)  j = Relu (i)
    k = GlobalAveragePool (j)  l = Flatten (k)  y = Gemm <transB = 1> (l, w5, b5)
}"""
_ATTENDING = """g (int64[n, t] words) => (float[n, 6] y) {
    x = Gather (table, words)
    q0 = MatMul (x, wq)  q1 = Reshape (q0, apart)  q = Transpose <perm = [0, 2, 1, 3]> (q1)
    k0 = MatMul (x, wk)  k1 = Reshape (k0, apart)  k = Transpose <perm = [0, 2, 3, 1]> (k1)
    v0 = MatMul (x, wv)  v1 = Reshape (v0, apart)  v = Transpose <perm = [0, 2, 1, 3]> (v1)
    s0 = MatMul (q, k)  s1 = Mul (s0, share)  s = Softmax <axis = -1> (s1)
    m0 = MatMul (s, v)  m1 = Transpose <perm = [0, 2, 1, 3]> (m0)  m2 = Reshape (m1, together)
    m = MatMul (m2, wo)  r = Add (x, m)
    z = LayerNormalization <axis = -1> (r, ones, zeros)
    i0 = MatMul (z, wi)  i1 = Add (i0, bi)  i2 = Relu (i1)  i3 = MatMul (i2, wj)  e = Add (i3, z)
    p = ReduceMean <axes = [1], keepdims = 0> (e)  y = MatMul (p, wy)
}"""
_RECURRENT = """g (float[t, n, 32] x) => (float[n, 6] y) {
    a, b, c = LSTM <hidden_size = 64> (x, w, r)
    d = Squeeze (b, first)  e = MatMul (d, w1)  f = Tanh (e)  y = MatMul (f, w2)
}"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network with calls of it."""

    name: str
    path: Path
    calls: tuple[Arrays, ...]


def write_cases(folder: Path) -> Iterator[Case]:
    """The networks, each written into a folder of its own in ``folder``."""
    for name, (text, weights, call) in _NETWORKS.items():
        rng = np.random.default_rng(5)
        model = parser.parse_model(_HEAD + text)
        for key, values in weights(rng).items():
            model.graph.initializer.append(numpy_helper.from_array(values, key))
        path = folder / name / "model.onnx"
        path.parent.mkdir()
        onnx.save(model, path)
        yield Case(name=name, path=path, calls=tuple(call(rng) for _ in range(CALLS)))


def _normal(rng: np.random.Generator, *shape: int, fan_in: int) -> Array:
    values: Array = (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)
    return values


def _of_convolutional(rng: np.random.Generator) -> Mapping[str, Array]:
    return {
        "w1": _normal(rng, 32, 3, 3, 3, fan_in=27),
        "b1": _normal(rng, 32, fan_in=100),
        "w2": _normal(rng, 32, 32, 3, 3, fan_in=288),
        "w3": _normal(rng, 32, 32, 3, 3, fan_in=288),
        "w4": _normal(rng, 64, 32, 3, 3, fan_in=288),
        "w5": _normal(rng, _CLASSES, 64, fan_in=64),
        "b5": _normal(rng, _CLASSES, fan_in=100),
    }


def _of_attending(rng: np.random.Generator) -> Mapping[str, Array]:
    inner = 4 * _WIDTH
    products = ("wq", "wk", "wv", "wo")
    return {
        "table": _normal(rng, _WORDS, _WIDTH, fan_in=1),
        **{name: _normal(rng, _WIDTH, _WIDTH, fan_in=_WIDTH) for name in products},
        "wi": _normal(rng, _WIDTH, inner, fan_in=_WIDTH),
        "bi": _normal(rng, inner, fan_in=100),
        "wj": _normal(rng, inner, _WIDTH, fan_in=inner),
        "wy": _normal(rng, _WIDTH, _CLASSES, fan_in=1),
        "ones": np.ones(_WIDTH, np.float32),
        "zeros": np.zeros(_WIDTH, np.float32),
        "share": np.array((_WIDTH // _HEADS) ** -0.5, np.float32),
        "apart": np.array([0, 0, _HEADS, _WIDTH // _HEADS], np.int64),
        "together": np.array([0, 0, _WIDTH], np.int64),
    }


def _of_recurrent(rng: np.random.Generator) -> Mapping[str, Array]:
    return {
        "w": _normal(rng, 1, 4 * _WIDTH, 32, fan_in=32),
        "r": _normal(rng, 1, 4 * _WIDTH, _WIDTH, fan_in=_WIDTH),
        "first": np.array([0], np.int64),
        "w1": _normal(rng, _WIDTH, 4 * _WIDTH, fan_in=_WIDTH),
        "w2": _normal(rng, 4 * _WIDTH, _CLASSES, fan_in=4 * _WIDTH),
    }


def _pixels(rng: np.random.Generator) -> Arrays:
    return {"x": rng.normal(size=(2, 3, 16, 16)).astype(np.float32)}


def _words(rng: np.random.Generator) -> Arrays:
    return {"words": rng.integers(0, _WORDS, (2, int(rng.integers(4, 12))))}


def _series(rng: np.random.Generator) -> Arrays:
    return {"x": rng.normal(size=(int(rng.integers(6, 12)), 2, 32)).astype(np.float32)}


_NETWORKS: dict[
    str,
    tuple[
        str,
        Callable[[np.random.Generator], Mapping[str, Array]],
        Callable[[np.random.Generator], Arrays],
    ],
] = {
    REQUIRED: (_CONVOLUTIONAL, _of_convolutional, _pixels),
    "attending": (_ATTENDING, _of_attending, _words),
    "recurrent": (_RECURRENT, _of_recurrent, _series),
}
