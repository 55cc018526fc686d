"""Graphs lifted to modules: the same answers, gradients, and parameters that can be traced back."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from lepton_ai.errors import EngineError
from lepton_ai.operators.module import GraphModule

RNG = np.random.default_rng(0)


def built(text, opset=18, **weights):
    """The model of a graph in ONNX's own notation, and the answers of ONNX Runtime."""
    head = f'<ir_version: 9, opset_import: ["" : {opset}, "local" : 1]>'
    tensors = [ir.tensor(array, name=name) for name, array in weights.items()]
    model = ir.from_onnx_text(f"{head} g {text}", initializers=tensors)
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return model, lambda **inputs: session.run(None, inputs)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


DENSE = """(float[n, 4] x, float[n, 5] skip) => (float[n, 5] y, int64[n] k) {
    h = MatMul (x, layer_0_w)
    biased = Add (h, layer_w)
    y = Add (biased, skip)
    k = ArgMax <axis = -1, keepdims = 0> (y)
}"""


@pytest.fixture
def dense():
    model, run = built(DENSE, layer_0_w=normal(4, 5), layer_w=normal(5))
    # As modules name them; the notation has no dots. Without them the two differ by nothing.
    model.graph.initializers["layer_0_w"].name = "layer.w"
    return model, run


@pytest.mark.parametrize("count", [1, 3])
def test_it_answers_as_the_graph_does(dense, count):
    model, run = dense
    x, skip = normal(count, 4), normal(count, 5)
    module = GraphModule(model)
    assert module.input_names == ("x", "skip")
    assert module.output_names == ("y", "k")
    y, k = module(torch.from_numpy(x), torch.from_numpy(skip))
    wanted = run(x=x, skip=skip)
    np.testing.assert_allclose(y.detach(), wanted[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(k, wanted[1])


def test_parameters_are_traced_back_to_initialisers(dense):
    module = GraphModule(dense[0])
    assert sorted(module.initialisers.values()) == ["layer.w", "layer_w"]
    for field, name in module.initialisers.items():
        parameter = module.get_parameter(f"weights.{field}")
        stored = dense[0].graph.initializers[name].const_value.numpy()
        np.testing.assert_array_equal(parameter.detach(), stored)


def test_gradients_are_those_of_the_formula(dense):
    module = GraphModule(dense[0])
    fields = {name: field for field, name in module.initialisers.items()}
    x = torch.from_numpy(normal(3, 4)).requires_grad_()
    y, _ = module(x, torch.zeros(3, 5))
    y.sum().backward()
    weight = module.get_parameter(f"weights.{fields['layer.w']}")
    torch.testing.assert_close(weight.grad, x.detach().sum(0)[:, None].expand(4, 5))
    torch.testing.assert_close(x.grad, weight.detach().sum(1).expand(3, 4))


def test_training_moves_the_answer(dense):
    module = GraphModule(dense[0])
    x, target = torch.from_numpy(normal(8, 4)), torch.from_numpy(normal(8, 5))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(module(x, torch.zeros(8, 5))[0], target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_a_state_dict_takes_effect(dense):
    module = GraphModule(dense[0])
    module.load_state_dict({name: torch.zeros_like(v) for name, v in module.state_dict().items()})
    y, _ = module(torch.ones(2, 4), torch.ones(2, 5))
    assert torch.equal(y, torch.ones(2, 5))


def test_what_decides_shapes_stays_a_constant():
    model, run = built(
        """(float[n, c, h, w] x) => (float[n, c, h2, w2] y) {
            twice = Mul (half, four)
            scales = Concat <axis = 0> (one, one, twice, twice)
            y0 = Resize <mode = "nearest"> (x, , scales)
            y = Mul (y0, gain)
        }""",
        one=np.ones(1, np.float32),
        half=np.full(1, 0.5, np.float32),
        four=np.full(1, 4, np.float32),
        gain=normal(1),
    )
    module = GraphModule(model)
    assert list(module.initialisers.values()) == ["gain"]
    x = normal(1, 2, 3, 4)
    np.testing.assert_allclose(module(torch.from_numpy(x))[0].detach(), run(x=x)[0], rtol=1e-5)


def test_statistics_are_not_trained():
    weights = {name: np.abs(normal(3)) for name in ("gain", "bias", "mean", "var")}
    model, run = built(
        """(float[n, 3, t] x) => (float[n, 3, t] y) {
            y = BatchNormalization (x, gain, bias, mean, var)
        }""",
        **weights,
    )
    module = GraphModule(model)
    assert {module.initialisers[n] for n, _ in module.weights.named_buffers()} == {"mean", "var"}
    assert len(list(module.parameters())) == 2
    x = normal(2, 3, 5)
    np.testing.assert_allclose(
        module(torch.from_numpy(x))[0].detach(), run(x=x)[0], rtol=1e-4, atol=1e-5
    )


def test_weights_inside_branches_are_parameters_too():
    model, run = built(
        """(float[n, 4] x) => (float[n, 4] y) {
            sum = ReduceSum <keepdims = 0> (x)
            positive = Greater (sum, zero)
            y = If (positive) <
                then_branch = up () => (float[n, 4] a) { a = Mul (x, outer) },
                else_branch = down () => (float[n, 4] b) { b = Neg (x) }
            >
        }""",
        zero=np.array(0, np.float32),
        outer=normal(4),
    )
    module = GraphModule(model)
    fields = {name: field for field, name in module.initialisers.items()}
    for sign in (1, -1):
        x = sign * np.abs(normal(2, 4))
        np.testing.assert_allclose(module(torch.from_numpy(x))[0].detach(), run(x=x)[0], rtol=1e-6)
    module(torch.ones(2, 4))[0].sum().backward()
    outer = module.get_parameter(f"weights.{fields['outer']}")
    torch.testing.assert_close(outer.grad, torch.full((4,), 2.0))


def test_outputs_share_no_memory_with_inputs_weights_or_one_another():
    model, _ = built(
        """(float[n, 4] x) => (float[n, 4] same, float[n, 4] again, float[m] flat, float[4] w2) {
            same = Identity (x)
            again = Identity (same)
            flat = Reshape (x, line)
            w2 = Identity (w)
        }""",
        line=np.array([-1]),
        w=normal(4),
    )
    module = GraphModule(model)
    x = torch.ones(2, 4)
    with torch.no_grad():
        outputs = module(x)
        for one in outputs:
            one.fill_(9)
    assert torch.equal(x, torch.ones(2, 4))
    assert not torch.any(next(module.parameters()) == 9)
    assert len({one.untyped_storage().data_ptr() for one in outputs}) == 4


def test_only_the_outputs_that_are_wanted_come(dense):
    module = GraphModule(dense[0], outputs=["k"])
    (k,) = module(torch.ones(2, 4), torch.ones(2, 5))
    assert k.dtype == torch.int64


def test_it_can_be_exported_with_free_sizes(dense):
    model, run = dense
    module = GraphModule(model)
    module.tie([[(0, 0), (1, 0)]])
    rows = {0: torch.export.Dim.AUTO}
    program = torch.export.export(
        module, (torch.ones(3, 4), torch.ones(3, 5)), dynamic_shapes=((rows, rows),)
    )
    x, skip = normal(7, 4), normal(7, 5)
    y, _ = program.module()(torch.from_numpy(x), torch.from_numpy(skip))
    np.testing.assert_allclose(y.detach(), run(x=x, skip=skip)[0], rtol=1e-5, atol=1e-6)


def test_a_wrong_number_of_inputs_is_refused_by_name(dense):
    with pytest.raises(EngineError, match=r"'x', 'skip'.*1 came"):
        GraphModule(dense[0])(torch.ones(2, 4))


def test_an_operator_without_meaning_is_refused_with_its_node():
    text = "(float[n, 4] x) => (float[n, 4] y) { y = local.Frobnicate (x) }"
    model = ir.from_onnx_text(f'<ir_version: 9, opset_import: ["" : 18, "local" : 1]> g {text}')
    with pytest.raises(EngineError, match="Frobnicate"):
        GraphModule(model)
