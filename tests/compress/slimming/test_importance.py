import numpy as np
import pytest

from lepton_ai.compress.slimming.components import components_of
from lepton_ai.compress.slimming.importance import importance
from lepton_ai.compress.slimming.removal import without_components
from lepton_ai.errors import ModelError

TEXT = """
g (float[n, 6] x) => (float[n, 5] y) {
    a = Gemm (x, w, b)
    c = Tanh (a)
    y = MatMul (c, v)
}
"""


def test_the_energy_is_that_which_the_answers_lose_without_the_component(build, answers):
    rng = np.random.default_rng(2)
    reads = rng.normal(size=(12, 5)) * np.geomspace(0.01, 1, 12)[:, None]
    model = build(TEXT, {"w": (6, 12), "b": (12,), "v": reads.astype(np.float32)})
    components = components_of(model)
    (width,) = components.widths()
    batches = [{"x": rng.normal(size=(16, 6)).astype(np.float32)} for _ in range(200)]
    found = importance(model, components, batches)[width]

    x = np.concatenate([batch["x"] for batch in batches])
    whole = answers(model, {"x": x})[0]
    lost = [
        np.square(answers(without_components(model, [int(one)]), {"x": x})[0] - whole).sum()
        for one in width
    ]
    wanted = np.array(lost) / (len(x) * whole.shape[1] * whole.var())
    assert np.corrcoef(np.log(found), np.log(wanted))[0, 1] > 0.99
    np.testing.assert_allclose(found.sum(), wanted.sum(), rtol=0.35)


def test_it_wants_samples(build):
    model = build(TEXT, {"w": (6, 12), "b": (12,), "v": (12, 5)})
    with pytest.raises(ModelError, match="samples"):
        importance(model, components_of(model), [])


def test_it_wants_answers_with_a_gradient(build):
    text = "g (float[n, 6] x) => (int64[n, 1] y) { a = MatMul (x, w) y = ArgMax <axis = 1> (a) }"
    model = build(text, {"w": (6, 12)})
    with pytest.raises(ModelError, match="floating point"):
        importance(model, components_of(model), [{"x": np.ones((1, 6), dtype=np.float32)}])
