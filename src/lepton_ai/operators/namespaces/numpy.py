"""NumPy: slow, plain, what the others are compared with.

Convolutions are products of matrices (one per sample, of its windows), and windows are reduced one
axis at a time, which is exact for sums and extremes alike.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lepton_ai.operators.dtypes import is_integer, is_narrow
from lepton_ai.operators.namespace import Namespace

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]

_SCATTERS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


class NumpyNamespace(Namespace):
    """NumPy, with ``ml_dtypes`` for the dtypes that it lacks; those compute in float32 inside."""

    name = "numpy"
    standard = np
    eager = True

    def owns(self, value: Any) -> bool:
        """Whether ``value`` is a NumPy array or scalar."""
        return isinstance(value, np.ndarray | np.generic)

    def from_host(self, array: Array) -> Array:
        """The array itself."""
        return array

    def to_host(self, x: Array) -> Array:
        """The array itself."""
        return np.asarray(x)

    def dtype_of(self, x: Array) -> np.dtype[Any]:
        """Its dtype; ``object`` for texts and for sizes that are not known yet."""
        return np.asarray(x).dtype

    def cast(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """``astype``, by way of float32 where ``ml_dtypes`` has no direct way."""
        x = np.asarray(x)
        if x.dtype == dtype:
            return x
        if is_narrow(x.dtype) and is_integer(dtype):
            x = x.astype(np.float32)
        return x.astype(dtype)

    def erf(self, x: Array) -> Array:
        """SciPy's error function."""
        from scipy.special import erf

        return np.asarray(erf(_wide(x))).astype(np.asarray(x).dtype)

    def einsum(self, equation: str, *operands: Array) -> Array:
        """``np.einsum``, two operands at a time."""
        result = np.einsum(equation, *map(_wide, operands), optimize="greedy")
        return np.asarray(result).astype(operands[0].dtype, copy=False)

    def convolve(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: Sequence[int],
        pads: Sequence[tuple[int, int]],
        dilations: Sequence[int],
        groups: int,
    ) -> Array:
        """Each sample's windows, laid out as a matrix, times the weights."""
        dtype = x.dtype
        padded = self.pad(_wide(x), [(0, 0), (0, 0), *pads], 0)
        weight = _wide(weight)
        windows = _windows(padded, weight.shape[2:], strides, dilations)
        if weight.shape[1] == 1 and groups > 1:
            y = _depthwise(windows, weight, groups).astype(dtype, copy=False)
        else:
            y = _grouped(windows, weight, groups).astype(dtype, copy=False)
        return np.asarray(self.biased(y, bias))

    def reduce_windows(
        self,
        x: Array,
        kind: str,
        *,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> Array:
        """One axis after the other, one place of the kernel after the other."""
        combine = {"max": np.maximum, "sum": np.add}[kind]
        dtype = x.dtype
        x = _wide(x) if kind == "sum" else x
        first = x.ndim - len(kernel)
        for axis, (size, stride, dilation) in enumerate(
            zip(kernel, strides, dilations, strict=True), start=first
        ):
            reach = dilation * (size - 1)
            count = max((x.shape[axis] - reach - 1) // stride + 1, 0)
            before = (slice(None),) * axis
            parts = (
                x[(*before, slice(start, start + stride * (count - 1) + 1, stride))]
                if count
                else x[(*before, slice(0, 0))]
                for start in range(0, reach + 1, dilation)
            )
            result = next(parts).copy()
            for part in parts:
                combine(result, part, out=result)
            x = result
        return x.astype(dtype, copy=False)

    def pad(self, x: Array, pads: Sequence[tuple[int, int]], value: Any) -> Array:
        """A larger array full of ``value`` with ``x`` written into it."""
        if not any(before or after for before, after in pads):
            return x
        sizes = [size + before + after for size, (before, after) in zip(x.shape, pads, strict=True)]
        padded = np.full(sizes, value, dtype=x.dtype)
        inside = zip(x.shape, pads, strict=True)
        padded[tuple(slice(before, before + size) for size, (before, _) in inside)] = x
        return padded

    def scatter(self, x: Array, index: Arrays, updates: Array, reduction: str) -> Array:
        """A copy written to, or added to and so on by the ufunc's ``at``."""
        if reduction == "none":
            result = x.copy()
            result[index] = updates
            return result
        result = np.array(_wide(x))
        _SCATTERS[reduction].at(result, index, _wide(updates))
        return result.astype(x.dtype, copy=False)

    def scan(
        self, step: Callable[[Arrays, Arrays], Any], carry: Arrays, xs: Arrays
    ) -> tuple[Arrays, Arrays]:
        """A loop."""
        length = len(xs[0])
        if length == 0:  # what a step would answer, none of it kept
            _, y = step(carry, tuple(np.zeros(x.shape[1:], x.dtype) for x in xs))
            return carry, tuple(np.zeros((0, *one.shape), one.dtype) for one in y)
        found = []
        for place in range(length):
            carry, y = step(carry, tuple(x[place] for x in xs))
            found.append(y)
        return carry, tuple(np.stack(one) for one in zip(*found, strict=True))

    def choose(
        self,
        condition: Array,
        then: Callable[[], Sequence[Array]],
        otherwise: Callable[[], Sequence[Array]],
    ) -> Sequence[Array]:
        """One of the two."""
        return then() if condition else otherwise()

    def repeat_while(
        self,
        condition: Callable[[Arrays], Array],
        body: Callable[[Arrays], Arrays],
        carry: Arrays,
    ) -> Arrays:
        """A loop."""
        while condition(carry):
            carry = body(carry)
        return carry

    def round(self, x: Array) -> Array:
        """To the nearest, halves to even."""
        return np.asarray(np.rint(x))

    def argsort(
        self, x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True
    ) -> Array:
        """As the standard has it: of equals, the first come first in both orders."""
        x = _wide(x)
        if not descending:
            return np.argsort(x, axis=axis, stable=stable)
        backwards = np.argsort(np.flip(x, axis=axis), axis=axis, stable=True)
        return np.asarray(x.shape[axis] - 1 - np.flip(backwards, axis=axis))

    def cumulative_sum(self, x: Array, *, axis: int) -> Array:
        """``np.cumsum``, which older versions have too."""
        return np.cumsum(x, axis=axis)

    def cumulative_prod(self, x: Array, *, axis: int) -> Array:
        """``np.cumprod``."""
        return np.cumprod(x, axis=axis)


def _wide(x: Array) -> Array:
    """Narrow floats as float32: NumPy's own sums of them would round at every step."""
    x = np.asarray(x)
    return x.astype(np.float32) if is_narrow(x.dtype) else x


def _windows(
    x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """Views of the windows of ``x`` [N, C, *spatial]: [N, C, *out, *kernel]."""
    axes = tuple(range(2, 2 + len(kernel)))
    reach = tuple(
        dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)
    )
    views = sliding_window_view(x, reach, axis=axes)
    every = (slice(None), slice(None))
    steps = (slice(None, None, stride) for stride in strides)
    within = (slice(None, None, dilation) for dilation in dilations)
    return np.asarray(views[(*every, *steps, *within)])


def _depthwise(windows: Array, weight: Array, groups: int) -> Array:
    """Channels by themselves: a product for each place of the kernel."""
    kernel = weight.shape[2:]
    n, _, *spatial = windows.shape[: windows.ndim - len(kernel)]
    each = weight.shape[0] // groups
    ends = (1,) * len(spatial)
    total = np.zeros((n, groups, each, *spatial), np.result_type(windows, weight))
    for place in np.ndindex(*kernel):
        factor = weight[(slice(None), 0, *place)].reshape(groups, each, *ends)
        total += windows[(..., *place)][:, :, None] * factor
    return total.reshape(n, groups * each, *spatial)


def _grouped(windows: Array, weight: Array, groups: int) -> Array:
    """Sample by sample, so that the windows, laid out, fit into memory."""
    rank = weight.ndim - 2
    n, _, *spatial = windows.shape[: windows.ndim - rank]
    # [C, *out, *kernel] to [C, *kernel, *out]
    order = (0, *range(1 + rank, 1 + 2 * rank), *range(1, 1 + rank))
    depth = weight[0].size
    rows = weight.reshape(groups, -1, depth)
    result = np.empty((n, len(weight), *spatial), np.result_type(windows, weight))
    for sample in range(n):
        columns = windows[sample].transpose(order).reshape(groups, depth, -1)
        result[sample] = (rows @ columns).reshape(len(weight), *spatial)
    return result
