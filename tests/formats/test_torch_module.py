"""Live modules: names, free batch, modes, and agreement with what was exported."""

import logging

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from lepton_ai.errors import DataError, ModelError
from lepton_ai.formats.read import read


class Classifier(nn.Module):
    """Convolution, batch norm and dropout: what differs between training and evaluation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, image):
        return self.head(self.drop(self.norm(self.conv(image)).mean((2, 3))))


class Parts(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x, y, scale: float = 2.0):
        return self.form(x + y, x * scale)


def floats(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def check_same(model, example):
    """The exported graph and the module answer alike, at a batch size of its own."""
    inputs = {name: example[name] for name in model.signature.input_names}
    inputs = model.signature.check(inputs)
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    came = session.run(list(model.signature.output_names), inputs)
    with torch.no_grad():
        wanted = model.module(*[torch.from_numpy(array) for array in inputs.values()])
    parts = wanted.values() if isinstance(wanted, dict) else wanted
    parts = [wanted] if isinstance(wanted, torch.Tensor) else list(parts)
    assert len(parts) == len(came)
    for one, other in zip(parts, came, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-5, atol=1e-5)


def test_a_classifier_is_exported_with_a_free_batch(tmp_path, capfd):
    net = Classifier().train()
    net.norm.eval()
    net.norm.running_mean += 1
    model = read(net, tmp_path, {"image": floats(1, 3, 8, 8)})
    assert str(model.signature.inputs[0]) == "image: float32[batch, 3, 8, 8]"
    assert str(model.signature.outputs[0]) == "output: float32[batch, 2]"
    assert (model.name, model.source_format, model.notes) == ("Classifier", "torch-module", ())
    assert model.module is net
    assert [net.training, net.norm.training, net.drop.training] == [True, False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET
    net.eval()
    for batch in (1, 2, 5):
        check_same(model, {"image": floats(batch, 3, 8, 8)})


def test_nothing_of_this_machine_is_written_into_the_file(tmp_path):
    content = read(Classifier(), tmp_path, {"image": floats(2, 3, 8, 8)}).path.read_bytes()
    assert b"test_torch_module" not in content
    assert b"stack_trace" not in content


FORMS = {
    "tuple": (lambda a, b: (a, b), ["output", "output_1"]),
    "list": (lambda a, b: [a, b], ["output", "output_1"]),
    "dict": (lambda a, b: {"sum": a, "scaled": b}, ["sum", "scaled"]),
    "nested": (lambda a, b: {"sum": a, "rest": (b, a)}, ["sum", "rest", "rest_1"]),
    "with none": (lambda a, b: (a, None), ["output"]),
    "named like an input": (lambda a, b: {"x": a, "z": b}, ["x_out", "z"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_named_after_the_answer(tmp_path, form):
    make, names = FORMS[form]
    example = {"y": floats(3, 4), "x": floats(3, 4)}
    model = read(Parts(make), tmp_path, example)
    assert model.signature.input_names == ("x", "y")
    assert list(model.signature.output_names) == names
    check_same(model, {"x": floats(1, 4), "y": floats(1, 4)})


def test_a_module_of_the_librarys_own(tmp_path):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    model = read(net, tmp_path, {"input": floats(1, 4, dtype=np.float64)})
    assert str(model.signature.inputs[0]) == "input: float32[batch, 4]"
    check_same(model, {"input": floats(6, 4)})


def test_a_parameter_left_out_in_the_middle(tmp_path):
    class Skips(nn.Module):
        def forward(self, x, bias=None, weight=None):
            return x if weight is None else x * weight

    model = read(Skips(), tmp_path, {"x": floats(2, 3), "weight": floats(2, 3)})
    assert model.signature.input_names == ("x", "weight")
    check_same(model, {"x": floats(2, 3), "weight": floats(2, 3)})


def test_integers_and_a_state_without_a_batch(tmp_path):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids, state):
            return self.table(ids) + state

    example = {"ids": np.zeros((2, 5), np.int64), "state": floats(4)}
    model = read(Tagger(), tmp_path, example)
    assert [str(spec) for spec in model.signature.inputs] == [
        "ids: int64[batch, 5]",
        "state: float32[4]",
    ]
    check_same(model, {**example, "ids": np.ones((3, 5), np.int64)})


def test_a_batch_that_cannot_be_free_is_fixed_and_told(tmp_path):
    class OneAtATime(nn.Module):
        def forward(self, x):
            return x.reshape(1, 12) * 2

    model = read(OneAtATime(), tmp_path, {"x": floats(1, 3, 4)})
    assert model.signature.inputs[0].shape == (1, 3, 4)
    assert "sizes of the inputs are fixed (x [1, 3, 4]): forward fails" in model.notes[0]
    check_same(model, {"x": floats(1, 3, 4)})


def test_a_size_that_is_baked_in_is_fixed_and_told(tmp_path):
    class Baked(nn.Module):
        def forward(self, x):
            return x.reshape(2 if x.shape[0] == 2 else 4, -1)

    model = read(Baked(), tmp_path, {"x": floats(2, 3)})
    assert model.signature.inputs[0].shape == (2, 3)
    assert "forward works for batch 2 only" in model.notes[0]


@pytest.mark.parametrize(
    ("example", "complaint"),
    [
        (None, "pass data with it"),
        ({}, r"takes \['x', 'y', 'scale'\], and the data holds \[\]"),
        ({"x": floats(1, 4)}, r"missing: \['y'\]"),
        ({"x": floats(1, 4), "Y": floats(1, 4)}, r"missing: \['y'\]; unknown: \['Y'\]"),
        ({"x": floats(1, 4), "y": np.array([["a"] * 4])}, "dtype <U1, which torch has not"),
    ],
)
def test_data_that_does_not_fit_is_told(tmp_path, example, complaint):
    with pytest.raises(DataError, match=complaint):
        read(Parts(lambda a, b: a), tmp_path, example)
    assert list(tmp_path.iterdir()) == []


def test_a_forward_that_fails_is_told_in_one_sentence(tmp_path):
    net = nn.Linear(4, 2).train()
    with pytest.raises(ModelError, match=r"Linear cannot be exported: forward fails on .*\(1, 5\)"):
        read(net, tmp_path, {"input": floats(1, 5)})
    assert net.training


def test_flow_that_depends_on_values_is_refused(tmp_path):
    class Branches(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(ModelError, match="Branches cannot be exported") as caught:
        read(Branches(), tmp_path, {"x": floats(2, 4)})
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_answer_without_tensors_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no tensor in it"):
        read(Parts(lambda a, b: None), tmp_path, {"x": floats(1, 4), "y": floats(1, 4)})
