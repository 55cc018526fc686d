"""The primitives in PyTorch: as NumPy computes them, and in a trace as eagerly."""

import ml_dtypes
import numpy as np
import pytest
import torch

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespaces.torch import TorchNamespace, torch_dtype

RNG = np.random.default_rng(0)
XP = TorchNamespace()


class Traced(torch.nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.bias = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, *inputs):
        XP.eager = not torch.compiler.is_exporting()
        return self.function(self, *inputs)


def exported(function, *inputs):
    """``function`` as ``torch.export`` traced it with ``inputs``, first axes free."""
    module = Traced(function)
    axes = tuple({0: torch.export.Dim.AUTO} if one.ndim else {} for one in inputs)
    try:
        program = torch.export.export(module, inputs, dynamic_shapes=(axes,))
    finally:
        XP.eager = True
    return module, program.module()


@pytest.mark.parametrize("name", ["bool", "int8", "uint8", "int64", "float16", "float64"])
def test_arrays_come_back_as_they_went(name):
    array = RNG.integers(0, 2, (2, 3)).astype(name)
    tensor = XP.from_host(array)
    assert XP.dtype_of(tensor) == array.dtype
    np.testing.assert_array_equal(XP.to_host(tensor), array)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_floats_that_numpy_lacks_keep_their_bits(dtype):
    array = np.array([[0.5, -1.5], [3.0, 0.0]]).astype(dtype)
    tensor = XP.from_host(array)
    assert tensor.dtype == torch_dtype(np.dtype(dtype))
    assert XP.to_host(tensor).tobytes() == array.tobytes()


def test_a_tensor_shares_no_memory_with_the_array_that_it_was():
    array = np.ones(3, np.float32)[::-1]
    tensor = XP.from_host(array)
    tensor += 1
    np.testing.assert_array_equal(array, 1)


def test_text_is_refused():
    with pytest.raises(EngineError, match="text"):
        XP.from_host(np.array(["a"], dtype=object))


def windows(x, kernel, strides, dilations):
    """All windows over the last axes, [..., *places, *kernel]."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    axes = tuple(range(x.ndim - len(kernel), x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=axes)
    steps = [slice(None, None, s) for s in strides]
    taps = [slice(None, None, d) for d in dilations]
    return view[(..., *steps, *[slice(None)] * len(kernel))][(..., *taps)]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("pads", [[(1, 1), (2, 2)], [(0, 1), (2, 0)]])
def test_a_convolution_is_a_sum_of_products_over_windows(dtype, pads):
    x = RNG.integers(-4, 5, (2, 4, 9, 8)).astype(dtype)
    weight = RNG.integers(-4, 5, (6, 2, 3, 2)).astype(dtype)
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    view = windows(padded, (3, 2), (2, 1), (1, 2)).reshape(
        2, 2, 2, *windows(padded, (3, 2), (2, 1), (1, 2)).shape[2:]
    )
    kernels = weight.reshape(2, 3, 2, 3, 2)
    wanted = np.einsum("ngchwkl,gmckl->ngmhw", view, kernels)
    got = XP.convolve(
        XP.from_host(x),
        XP.from_host(weight),
        strides=(2, 1),
        pads=pads,
        dilations=(1, 2),
        groups=2,
    )
    assert XP.dtype_of(got) == dtype
    np.testing.assert_array_equal(got.numpy(), wanted.reshape(2, 6, *wanted.shape[3:]))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("kind", ["max", "sum"])
@pytest.mark.parametrize(
    ("shape", "kernel", "dilations"),
    [
        ((2, 3, 9), (3,), (1,)),
        ((2, 3, 9, 8), (3, 2), (1, 1)),
        ((2, 3, 9, 8), (3, 2), (2, 3)),
        ((9, 8), (3, 2), (1, 1)),
        ((2, 2, 2, 3, 6, 5, 7), (2, 2, 2), (1, 1, 1)),
        ((4, 5, 4, 6), (2, 2, 2, 2), (1, 1, 1, 1)),
    ],
)
def test_windows_are_reduced(dtype, kind, shape, kernel, dilations):
    x = RNG.integers(0, 9, shape).astype(dtype)
    strides = (2,) * len(kernel)
    view = windows(x, kernel, strides, dilations)
    axes = tuple(range(-len(kernel), 0))
    wanted = view.max(axes) if kind == "max" else view.sum(axes, dtype=dtype)
    got = XP.reduce_windows(
        XP.from_host(x), kind, kernel=kernel, strides=strides, dilations=dilations
    )
    np.testing.assert_array_equal(XP.to_host(got), wanted)
    assert XP.dtype_of(got) == dtype


@pytest.mark.parametrize("value", [0, -np.inf, 2.5])
def test_padding(value):
    x = RNG.normal(size=(2, 3)).astype(np.float32)
    got = XP.pad(XP.from_host(x), [(1, 0), (2, 3)], value)
    np.testing.assert_array_equal(got, np.pad(x, [(1, 0), (2, 3)], constant_values=value))


@pytest.mark.parametrize(
    ("reduction", "combine"),
    [("add", np.add), ("mul", np.multiply), ("max", np.maximum), ("min", np.minimum)],
)
def test_scattering_takes_every_update_into_account(reduction, combine):
    x = RNG.integers(-4, 5, (4, 3, 2)).astype(np.float32)
    rows, columns = np.array([[0], [3], [0]]), np.array([[1, 1]])
    updates = RNG.integers(-4, 5, (3, 2, 2)).astype(np.float32)
    wanted = x.copy()
    combine.at(wanted, (rows, columns), updates)
    index = (XP.from_host(rows), XP.from_host(columns))
    before = XP.from_host(x)
    got = XP.scatter(before, index, XP.from_host(updates), reduction)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(before, x)


def test_scattering_without_reduction_writes_one_of_the_updates():
    x, index = torch.zeros(4), torch.tensor([1, 3], dtype=torch.int32)
    np.testing.assert_array_equal(
        XP.scatter(x, (index,), torch.tensor([5.0, 6.0]), "none"), [0, 5, 0, 6]
    )


def test_indices_count_from_the_end_too():
    x = torch.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(XP.take(x, torch.tensor([-1, 0]), axis=1), x.numpy()[:, [-1, 0]])
    places = torch.tensor([[-1], [0], [1]], dtype=torch.int32)
    np.testing.assert_array_equal(XP.take_along_axis(x, places, axis=1), [[3], [4], [9]])


def test_dtypes_may_be_spelled_as_numpy_does():
    assert XP.zeros((2,), dtype=np.dtype(np.int8)).dtype == torch.int8
    assert XP.astype(torch.ones(2), np.float64).dtype == torch.float64
    assert XP.sum(torch.ones(2, dtype=torch.int8), dtype=np.dtype(np.int8)).dtype == torch.int8


def test_products_round_their_factors_and_nothing_else():
    narrow = TorchNamespace(products="bfloat16")
    a, b = torch.randn(4, 5), torch.randn(5, 6)
    product = narrow.matmul(a, b)
    assert product.dtype == torch.float32
    assert torch.equal(product, (a.bfloat16() @ b.bfloat16()).float())
    assert torch.equal(narrow.einsum("ij,jk->ik", a, b), product)
    whole = torch.ones(2, 2, dtype=torch.int64)
    assert narrow.matmul(whole, whole).dtype == torch.int64


def test_a_scan_carries_and_stacks():
    step = lambda carry, x: ((carry[0] + x[0],), (carry[0] * x[0],))  # noqa: E731
    (last,), (ys,) = XP.scan(step, (torch.tensor(0.0),), (torch.tensor([1.0, 2.0, 3.0]),))
    assert last == 6
    np.testing.assert_array_equal(ys, [0, 2, 9])
    (last,), (ys,) = XP.scan(step, (torch.tensor(7.0),), (torch.zeros(0),))
    assert last == 7
    assert ys.shape == (0,)


def branch(module, x, other):
    return tuple(
        XP.choose(
            x.sum() > 0,
            lambda: [x * module.bias + other[: x.shape[0]], other],
            lambda: [-x, other * 2],
        )
    )


def test_a_branch_is_chosen_by_what_comes():
    x, other = torch.randn(4, 3), torch.randn(4, 3)
    module, traced = exported(branch, x, other)
    for one in (x.abs(), -x.abs(), x.abs()[:1], torch.ones(7, 3)):
        rest = torch.ones_like(one)
        for wanted, got in zip(module(one, rest), traced(one, rest), strict=True):
            torch.testing.assert_close(got, wanted)


def halve(module, x, most):
    (last, *_) = XP.repeat_while(
        lambda carry: (carry[0].abs().max() > 1) & (carry[1] < most),
        lambda carry: (carry[0] / 2 + module.bias * 0, carry[1] + 1),
        (x, XP.from_host(np.array(0))),
    )
    return last


def test_a_loop_ends_when_the_data_say_so():
    x = torch.full((4, 3), 8.0)
    module, traced = exported(halve, x, torch.tensor(10))
    for one, most in ((x, 10), (x, 2), (x[:1] / 100, 10), (torch.ones(6, 3) * 99, 100)):
        torch.testing.assert_close(traced(one, torch.tensor(most)), module(one, torch.tensor(most)))


def add_itself(module, x, most):
    """The loop reads what it begins with, besides carrying it."""
    (last, _) = XP.repeat_while(
        lambda carry: carry[1] < most,
        lambda carry: (carry[0] + x, carry[1] + 1),
        (x, XP.from_host(np.array(0))),
    )
    return last


def test_a_loop_may_read_what_it_begins_with():
    _, traced = exported(add_itself, torch.ones(4, 3), torch.tensor(2))
    for times in (0, 1, 5):
        got = traced(torch.full((2, 3), 2.0), torch.tensor(times))
        assert torch.equal(got, torch.full((2, 3), 2.0 + 2 * times))


def run_along(module, x, start):
    def step(carry, xs):
        total = carry[0] + xs[0] * module.bias + start
        return (total,), (total, xs[0].sum())

    (last,), ys = XP.scan(step, (start,), (x,))
    return last, *ys


def test_a_traced_scan_takes_any_length():
    module, traced = exported(run_along, torch.randn(9, 2, 3), torch.randn(2, 3))
    for length in (1, 5, 30):
        inputs = torch.randn(length, 2, 3), torch.randn(2, 3)
        for wanted, got in zip(module(*inputs), traced(*inputs), strict=True):
            torch.testing.assert_close(got, wanted)


def test_a_traced_tensor_has_no_values():
    def peek(module, x):
        with pytest.raises(ValueError, match="no values yet"):
            XP.to_host(x)
        return x + 1

    exported(peek, torch.ones(2, 3))


def test_symbolic_sizes_become_numbers():
    def with_sizes(module, x):
        sizes = np.empty(2, dtype=object)
        sizes[:] = [x.shape[0], 3]
        return XP.from_host(sizes) * 2

    _, traced = exported(with_sizes, torch.ones(4, 3))
    np.testing.assert_array_equal(traced(torch.ones(7, 3)), [14, 6])
