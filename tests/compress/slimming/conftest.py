"""Graphs written as text, with random weights, and what channels taken out of them leave."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from lepton_ai.compress.slimming.components import components_of
from lepton_ai.compress.slimming.coupling import Components
from lepton_ai.compress.slimming.removal import without_components
from lepton_ai.compress.slimming.slim import ready
from lepton_ai.graph.building import constant_of

Weights = Mapping[str, Sequence[int] | np.ndarray]


def graph(text: str, weights: Weights, *, opset: int = 18) -> ir.Model:
    """The graph whose nodes are ``text``; ``weights`` are values, or shapes of random ones."""
    head = f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
    model = parser.parse_model(head + text)
    rng = np.random.default_rng(5)
    for name, given in weights.items():
        values = given
        if not isinstance(given, np.ndarray):
            values = (rng.normal(size=given) / 3).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return ready(ir.from_proto(model))


def run(model: ir.Model, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    return onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, dict(feed))


def zeroed(model: ir.Model, gone: Sequence[int]) -> ir.Model:
    """A copy of ``model`` with all weights of the components ``gone`` zero, and nothing removed."""
    copy = ready(model.clone())
    components = components_of(copy)
    for value in copy.graph.initializers.values():
        array = constant_of(value).copy()
        for axis in range(array.ndim):
            labels = components.of((value, axis))
            if len(labels):
                where = [slice(None)] * array.ndim
                where[axis] = np.isin(labels, gone)
                array[tuple(where)] = 0
        value.const_value = ir.tensor(array, name=value.name)
    return copy


@pytest.fixture
def build() -> Callable[..., ir.Model]:
    """:func:`graph`."""
    return graph


@pytest.fixture
def answers() -> Callable[..., list[np.ndarray]]:
    """:func:`run`."""
    return run


@pytest.fixture
def check() -> Callable[..., list[int]]:
    """Take a third of every width out of a graph; it answers as with their weights at zero.

    Returns the sizes of the widths that were found.
    """

    def check_one(model: ir.Model, feed: Mapping[str, np.ndarray]) -> list[int]:
        components: Components = components_of(model)
        widths = components.widths()
        rng = np.random.default_rng(3)
        gone = [int(one) for kind in widths for one in rng.permutation(kind)[: len(kind) // 3]]
        thin = without_components(model, gone)
        for one, other in zip(run(zeroed(model, gone), feed), run(thin, feed), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        if gone:
            sizes = [
                sum(constant_of(w).size for w in m.graph.initializers.values())
                for m in (model, thin)
            ]
            assert sizes[1] < sizes[0]
        return sorted(len(kind) for kind in widths)

    return check_one
