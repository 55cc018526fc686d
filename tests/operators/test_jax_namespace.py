"""What the table asks of JAX, against NumPy computed by hand, traced as it is in the engine."""

import ml_dtypes
import numpy as np
import pytest

jax = pytest.importorskip("jax")

from jax import export  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from lepton_ai.errors import EngineError  # noqa: E402
from lepton_ai.operators.namespaces.jax import JaxNamespace  # noqa: E402

XP = JaxNamespace()
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def wide_types():
    with jax.enable_x64(True):
        yield


def traced(function, *arrays):
    """The answer of ``function`` with all of ``arrays`` unknown while it is traced."""
    return jax.tree.map(np.asarray, jax.jit(function)(*arrays))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def test_traced_arrays_are_its_own_and_have_no_values_yet():
    def look(x):
        assert XP.owns(x)
        assert not XP.owns(np.zeros(2))
        assert XP.dtype_of(x) == np.dtype(np.int64)
        with pytest.raises(ValueError, match="no values yet"):
            XP.to_host(x)
        return x

    traced(look, np.arange(3))
    assert not XP.eager


@pytest.mark.parametrize(
    "dtype", [np.int64, np.float64, np.uint8, np.float16, ml_dtypes.bfloat16, np.bool_]
)
def test_host_arrays_come_and_go_as_they_are(dtype):
    array = np.array([[0, 1], [2, 3]]).astype(dtype)
    there = XP.from_host(array)
    assert XP.dtype_of(there) == array.dtype
    back = XP.to_host(there)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("text", [np.array(["a", "b"]), np.array(["a"], dtype=object)])
def test_text_is_refused(text):
    with pytest.raises(EngineError, match="text"):
        XP.from_host(text)
    with pytest.raises(EngineError, match="text"):
        XP.cast(jnp.zeros(2), np.dtype(object))


def test_symbolic_sizes_become_the_numbers_that_they_turn_out_to_be():
    def sizes(x):
        return XP.from_host(np.array([[x.shape[0], 2 * x.shape[1]]], dtype=object))

    shape = export.symbolic_shape("n, m")
    exported = export.export(jax.jit(sizes))(jax.ShapeDtypeStruct(shape, np.float32))
    answer = np.asarray(exported.call(np.zeros((3, 5), np.float32)))
    assert answer.dtype == np.int64
    np.testing.assert_array_equal(answer, [[3, 10]])


@pytest.mark.parametrize(
    ("values", "source", "target", "wanted"),
    [
        ([1.9, -1.9], "f4", "i8", [1, -1]),
        ([300.0, -1.0], "f4", "u1", [44, 255]),
        ([200.0, -200.0], "f4", "i1", [-56, 56]),
        ([-1.0], "f4", "u4", [2**32 - 1]),
        ([0.0, 0.5, -2.0], "f4", "?", [False, True, True]),
        ([300, -1], "i8", "u1", [44, 255]),
        ([True, False], "?", "f4", [1.0, 0.0]),
        ([1 << 40], "i8", "f8", [float(1 << 40)]),
    ],
)
def test_casts_as_c_does(values, source, target, wanted):
    answer = traced(lambda x: XP.cast(x, np.dtype(target)), np.array(values, source))
    assert answer.dtype == np.dtype(target)
    np.testing.assert_array_equal(answer, np.array(wanted, target))


def test_erf():
    answer = traced(XP.erf, np.array([0.0, 0.5, -2.0]))
    np.testing.assert_allclose(answer, [0.0, 0.5204998778130465, -0.9953222650189527], rtol=1e-12)


def test_products():
    a, b = normal(2, 3, 4), normal(2, 4, 5)
    np.testing.assert_allclose(traced(XP.matmul, a, b), a @ b, rtol=1e-5, atol=1e-6)
    answer = traced(lambda a, b: XP.einsum("bij,bjk->bki", a, b), a, b)
    np.testing.assert_allclose(answer, (a @ b).swapaxes(1, 2), rtol=1e-5, atol=1e-6)
    answer = traced(lambda a, b: XP.tensordot(a, b, axes=([2], [1])), a, b)
    np.testing.assert_allclose(answer, np.tensordot(a, b, ([2], [1])), rtol=1e-5, atol=1e-6)
    answer = traced(lambda a: XP.vecdot(a, a, axis=1), a)
    np.testing.assert_allclose(answer, (a * a).sum(1), rtol=1e-5)


def test_narrow_products_round_the_factors_and_not_the_sum():
    narrow = JaxNamespace(products="bfloat16")
    a, b = normal(3, 64), normal(64, 5)
    rounded = [x.astype(ml_dtypes.bfloat16).astype(np.float64) for x in (a, b)]
    answer = traced(narrow.matmul, a, b)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, rounded[0] @ rounded[1], rtol=1e-4, atol=1e-5)
    assert np.abs(answer - a @ b).max() > 1e-4
    wide = traced(narrow.matmul, a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_allclose(wide, a.astype(np.float64) @ b, rtol=1e-6)


def windows_of(x, kernel, strides, dilations):
    """Every window of the last two axes, flattened: [..., rows, columns, kernel]."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=(-2, -1))
    view = view[..., :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return view.reshape(*view.shape[:-2], -1)


@pytest.mark.parametrize(
    ("strides", "pads", "dilations", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 1), ((1, 2), (0, 1)), (1, 2), 1),
        ((1, 2), ((1, 1), (1, 1)), (1, 1), 2),
    ],
)
def test_convolution(strides, pads, dilations, groups):
    x, weight = normal(2, 4, 9, 8), normal(6, 4 // groups, 3, 2)
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    windows = windows_of(padded, (3, 2), strides, dilations)
    each = 6 // groups
    wanted = np.concatenate(
        [
            np.einsum(
                "ncrsk,mck->nmrs",
                windows[:, g * 4 // groups : (g + 1) * 4 // groups],
                weight[g * each : (g + 1) * each].reshape(each, 4 // groups, -1),
            )
            for g in range(groups)
        ],
        axis=1,
    )

    def convolved(x, weight):
        return XP.convolve(
            x, weight, strides=strides, pads=pads, dilations=dilations, groups=groups
        )

    np.testing.assert_allclose(traced(convolved, x, weight), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float64])
@pytest.mark.parametrize("kind", ["max", "sum"])
def test_windows(kind, dtype):
    x = (-np.abs(normal(2, 3, 7, 8)) * 10).astype(dtype)
    wanted = getattr(windows_of(x, (3, 2), (2, 1), (1, 3)), kind)(-1)

    def reduced(x):
        return XP.reduce_windows(x, kind, kernel=(3, 2), strides=(2, 1), dilations=(1, 3))

    answer = traced(reduced, x)
    assert answer.dtype == dtype
    np.testing.assert_allclose(answer, wanted.astype(dtype), rtol=1e-5)


def test_padding_keeps_the_dtype():
    x = np.array([[1, 2]], np.uint8)
    answer = traced(lambda x: XP.pad(x, ((0, 1), (2, 0)), 7), x)
    np.testing.assert_array_equal(answer, [[7, 7, 1, 2], [7, 7, 7, 7]])
    assert answer.dtype == np.uint8
    low = traced(lambda x: XP.pad(x, ((1, 0),), -np.inf), np.zeros(1, np.float32))
    np.testing.assert_array_equal(low, [-np.inf, 0])


@pytest.mark.parametrize(
    ("reduction", "wanted"),
    [
        ("add", [1, 25, 3, 8]),
        ("mul", [1, 260, 3, 16]),
        ("max", [1, 13, 3, 4]),
        ("min", [1, 2, 3, 4]),
    ],
)
def test_scatter_takes_every_update_into_account(reduction, wanted):
    x = np.array([1, 2, 3, 4], np.float32)
    index, updates = np.array([1, 3, 1]), np.array([10, 4, 13], np.float32)
    answer = traced(lambda x, i, u: XP.scatter(x, (i,), u, reduction), x, index, updates)
    np.testing.assert_array_equal(answer, wanted)


def test_scatter_of_slices_and_points():
    x = np.zeros((3, 2, 2), np.float32)
    rows = normal(2, 2, 2)
    answer = traced(lambda x, u: XP.scatter(x, (np.array([2, 0]),), u, "none"), x, rows)
    np.testing.assert_array_equal(answer, np.stack([rows[1], x[0], rows[0]]))
    points = (np.array([0, 2]), np.array([1, 0]), np.array([1, 1]))
    answer = traced(lambda x: XP.scatter(x, points, np.array([5.0, 6.0]), "none"), x)
    assert answer[0, 1, 1] == 5
    assert answer[2, 0, 1] == 6
    assert answer.sum() == 11
    assert answer.dtype == np.float32


def test_scan_stacks_what_each_step_gives():
    xs = np.arange(1, 5, dtype=np.float32)

    def running(xs):
        def step(carry, x):
            total = carry[0] + x[0]
            return (total,), (total, x[0] * 2)

        return XP.scan(step, (np.zeros((), np.float32),), (xs,))

    (last,), (totals, doubled) = traced(running, xs)
    assert last == 10
    np.testing.assert_array_equal(totals, [1, 3, 6, 10])
    np.testing.assert_array_equal(doubled, 2 * xs)


@pytest.mark.parametrize("condition", [True, False])
def test_choose_takes_host_arrays_for_answers_too(condition):
    def chosen(condition, x):
        return XP.choose(condition, lambda: [x, np.int64(1)], lambda: [-x, np.array(2)])

    given = normal(3)
    x, number = traced(chosen, np.array([condition]), given)
    np.testing.assert_array_equal(x, given if condition else -given)
    assert number == (1 if condition else 2)
    assert number.dtype == np.int64


def test_branches_of_different_shapes_are_an_error():
    with pytest.raises(TypeError, match="branch"):
        traced(lambda c, x: XP.choose(c, lambda: [x], lambda: [x[:1]]), np.array(True), normal(3))


def test_repeat_while():
    def halved(x):
        return XP.repeat_while(
            lambda state: state[0] < 4, lambda state: (state[0] + 1, state[1] / 2), (np.int64(1), x)
        )

    count, x = traced(halved, np.array([8.0], np.float32))
    assert count == 4
    np.testing.assert_array_equal(x, [1.0])
    assert x.dtype == np.float32


def test_loops_stay_loops():
    """One step is traced whatever the count, so that long sequences do not make long programs."""

    def summed(xs):
        return XP.scan(lambda c, x: ((c[0] + x[0],), ()), (np.float32(0),), (xs,))[0]

    text = str(jax.make_jaxpr(summed)(np.zeros(1000, np.float32)))
    assert "scan" in text
    assert text.count(" add ") == 1


def test_the_standard_is_there():
    x = normal(2, 3)
    assert XP.permute_dims is jnp.permute_dims
    np.testing.assert_allclose(traced(lambda x: XP.exp(x), x), np.exp(x), rtol=1e-6)
