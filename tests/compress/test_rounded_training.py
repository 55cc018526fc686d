"""A quantised graph is opened, trained, and closed into one that engines run in int8."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from lepton_ai.compress.compressor import named_compressor
from lepton_ai.compress.graph_file import is_quantised
from lepton_ai.compress.rounded_training import closed, frozen, opened
from lepton_ai.compress.slimming.slim import ready
from lepton_ai.errors import ModelError
from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.operators.module import GraphModule
from lepton_ai.train.distilling import DistilConfig, Distilling
from lepton_ai.train.lessons import Lessons

QUANTISERS = ("int8-static-ort", "int8-static-nncf")


@pytest.fixture
def convolutional(build):
    return build("conv")


@pytest.fixture(params=QUANTISERS)
def quantised(request, convolutional, tmp_path):
    path = tmp_path / "int8.onnx"
    named_compressor(request.param).compress(convolutional.path, path, convolutional.samples)
    return ready(load_graph(path))


def answer(model: ir.Model, feed) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options).run(
        None, dict(feed)
    )[0]


def test_opened_it_answers_as_before(quantised, convolutional):
    module = GraphModule(opened(quantised)).eval()
    for feed in convolutional.samples[:3]:
        inputs = [torch.from_numpy(feed[name]) for name in module.input_names]
        wanted = answer(quantised, feed)
        given = module(*inputs)[0].detach().numpy()
        np.testing.assert_allclose(given, wanted, rtol=0.02, atol=0.02 * np.abs(wanted).max())


def test_closed_untrained_it_is_the_same(quantised):
    again = closed(opened(quantised), quantised)
    for name, value in quantised.graph.initializers.items():
        held = again.graph.initializers[name].const_value.numpy()
        np.testing.assert_array_equal(value.const_value.numpy(), held)


def test_trained_it_answers_more_like_the_original_in_int8(quantised, convolutional, tmp_path):
    original = ready(load_graph(convolutional.path))
    # Every weight one step off: what training with the rounding in place has to find back.
    for name, value in quantised.graph.initializers.items():
        if value.dtype == ir.DataType.INT8 and len(value.shape) > 1:
            moved = np.clip(value.const_value.numpy().astype(int) + 3, -128, 127)
            value.const_value = ir.tensor(moved.astype(np.int8), name=name)
    rng = np.random.default_rng(1)
    example = convolutional.samples[0]
    lessons = Lessons.write(
        tmp_path / "lessons",
        (
            {n: rng.normal(size=a.shape).astype(a.dtype) for n, a in example.items()}
            for _ in range(96)
        ),
    )
    model = opened(quantised)
    config = DistilConfig(steps=60, batch=16, learning_rate=1e-3, features=False)
    training = Distilling(original, model, lessons, config, frozen=frozen(model))
    training.advance(60)
    done = closed(training.student(), quantised)
    save_graph(done, tmp_path / "taught.onnx")
    assert is_quantised(ir.to_proto(done))
    assert [n.op_type for n in done.graph] == [n.op_type for n in quantised.graph]
    feed = {n: rng.normal(size=a.shape).astype(a.dtype) for n, a in example.items()}
    wanted = answer(original, feed)
    errors = [np.square(answer(m, feed) - wanted).sum() for m in (quantised, done)]
    assert errors[1] < 0.5 * errors[0]


def test_a_graph_in_floating_point_is_refused(convolutional):
    with pytest.raises(ModelError, match="integers"):
        opened(ready(load_graph(convolutional.path)))
