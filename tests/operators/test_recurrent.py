"""Recurrent networks in every direction and form, against ONNX Runtime's and PyTorch's."""

import numpy as np
import pytest
import torch

RNG = np.random.default_rng(0)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 6
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def inputs_of(operator, directions, lengths=None, peepholes=False):
    gates = GATES[operator]
    found = [
        normal(STEPS, BATCH, INPUTS),
        normal(directions, gates * HIDDEN, INPUTS),
        normal(directions, gates * HIDDEN, HIDDEN),
        normal(directions, 2 * gates * HIDDEN),
        None if lengths is None else np.array(lengths, np.int32),
        normal(directions, BATCH, HIDDEN),
    ]
    if operator == "LSTM":
        found += [normal(directions, BATCH, HIDDEN)]
        found += [normal(directions, 3 * HIDDEN)] if peepholes else []
    return found


def check(one_node, by_onnxruntime, operator, inputs, **options):
    outputs = 3 if operator == "LSTM" else 2
    options = {"hidden_size": HIDDEN, **options}
    found = one_node(operator, inputs, outputs=outputs, **options)
    wanted = by_onnxruntime(operator, inputs, outputs=outputs, **options)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("lengths", [None, (5, 2, 1)])
def test_every_direction_and_length(one_node, by_onnxruntime, operator, direction, lengths):
    inputs = inputs_of(operator, 2 if direction == "bidirectional" else 1, lengths)
    check(one_node, by_onnxruntime, operator, inputs, direction=direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_peepholes_and_clips(one_node, by_onnxruntime, direction):
    inputs = inputs_of("LSTM", 2 if direction == "bidirectional" else 1, peepholes=True)
    check(one_node, by_onnxruntime, "LSTM", inputs, direction=direction, clip=0.4)


def test_the_forget_gate_may_be_what_the_input_gate_leaves(one_node, by_onnxruntime):
    check(one_node, by_onnxruntime, "LSTM", inputs_of("LSTM", 1), input_forget=1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_reset_gate_after_the_weights(one_node, by_onnxruntime, direction):
    inputs = inputs_of("GRU", 2 if direction == "bidirectional" else 1, (4, 5, 2))
    check(one_node, by_onnxruntime, "GRU", inputs, direction=direction, linear_before_reset=1)


@pytest.mark.parametrize(
    "options",
    [
        {"activations": ["Relu", "Softsign"]},
        {"activations": ["LeakyRelu", "ThresholdedRelu"], "activation_alpha": [0.3, 0.2]},
        {"activations": ["HardSigmoid", "Elu"], "activation_alpha": [0.3, 0.7]},
        {"activations": ["Softplus", "Sigmoid"]},
        {
            "activations": ["ScaledTanh", "Affine"],
            "activation_alpha": [0.5, 0.6],
            "activation_beta": [0.4, 0.1],
        },
    ],
)
def test_other_activations(one_node, by_onnxruntime, options):
    inputs = inputs_of("RNN", 2)
    check(one_node, by_onnxruntime, "RNN", inputs, direction="bidirectional", **options)


@pytest.mark.parametrize("operator", GATES)
def test_the_batch_may_come_first(one_node, operator):
    inputs = inputs_of(operator, 2, (5, 3, 1))
    outputs = 3 if operator == "LSTM" else 2
    options = {"direction": "bidirectional", "hidden_size": HIDDEN, "outputs": outputs}
    y, *last = one_node(operator, inputs, **options)
    first = [inputs[0].swapaxes(0, 1), *inputs[1:5], *(one.swapaxes(0, 1) for one in inputs[5:])]
    other, *others = one_node(operator, first, layout=1, **options)
    np.testing.assert_allclose(other, y.transpose(2, 0, 1, 3), rtol=1e-6)
    for one, two in zip(others, last, strict=True):
        np.testing.assert_allclose(one, two.swapaxes(0, 1), rtol=1e-6)


def test_without_biases_and_states_it_is_pytorchs(one_node):
    net = torch.nn.LSTM(INPUTS, HIDDEN, bias=False)
    # PyTorch's gates are input, forget, cell, output.
    order = [0, 3, 1, 2]
    weights = [
        one.detach().numpy().reshape(4, HIDDEN, -1)[order].reshape(1, 4 * HIDDEN, -1)
        for one in (net.weight_ih_l0, net.weight_hh_l0)
    ]
    x = normal(STEPS, BATCH, INPUTS)
    (y,) = one_node("LSTM", [x, *weights], hidden_size=HIDDEN)
    with torch.no_grad():
        wanted, _ = net(torch.from_numpy(x))
    np.testing.assert_allclose(y[:, 0], wanted.numpy(), rtol=1e-4, atol=1e-5)
