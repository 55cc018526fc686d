"""The table run with PyTorch: eagerly, so that gradients flow, or traced by ``torch.export``.

``array_api_compat`` gives PyTorch the names of the array API standard; it is plain Python over
``torch``, so that tracing sees PyTorch's own operators. What the standard leaves to whoever creates
an array (where it lies, a dtype in NumPy's spelling) is seen to here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat.torch
import ml_dtypes
import numpy as np
import torch
from torch.nn import functional

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.namespaces.torch_control import along, conditional, loop

#: Steps of a scan that are traced one by one, and then compiled together.
UNROLLED = 4
_PLAIN = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
#: Dtypes that NumPy has from ``ml_dtypes``, and the plain ones of their width.
_FOREIGN = {
    "bfloat16": np.int16,
    "float8_e4m3fn": np.uint8,
    "float8_e4m3fnuz": np.uint8,
    "float8_e5m2": np.uint8,
    "float8_e5m2fnuz": np.uint8,
    "float8_e8m0fnu": np.uint8,
}
_TO_TORCH: dict[np.dtype[Any], torch.dtype] = {
    np.dtype(name): getattr(torch, name) for name in _PLAIN
} | {
    np.dtype(getattr(ml_dtypes, name)): getattr(torch, name)
    for name in _FOREIGN
    if hasattr(ml_dtypes, name) and hasattr(torch, name)
}
_TO_NUMPY = {theirs: ours for ours, theirs in _TO_TORCH.items()}
#: Of the dtypes from ``ml_dtypes``: the plain one of its width in PyTorch, and its own in NumPy.
_THROUGH = {
    theirs: (_TO_TORCH[np.dtype(_FOREIGN[ours.name])], ours)
    for theirs, ours in _TO_NUMPY.items()
    if ours.name in _FOREIGN
}
_TEXT = "OSUT"
#: Functions of the standard that take a dtype, and those of them that make an array of nothing.
_WITH_DTYPE = frozenset({"astype", "sum", "prod", "cumulative_sum", "cumulative_prod"})
_LIKE = frozenset({"zeros_like", "ones_like", "full_like", "empty_like"})
_CREATION = frozenset({"zeros", "ones", "full", "empty", "arange", "eye", "linspace", "asarray"})
_REDUCTIONS = {"mul": "prod", "max": "amax", "min": "amin"}
_CONVOLUTIONS: dict[int, Callable[..., Any]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_MAX_POOLS: dict[int, Callable[..., Any]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}


class TorchNamespace(Namespace):
    """``torch``, on ``device``.

    With ``products="bfloat16"`` (or ``"float16"``) the float32 factors of matrix products and of
    convolutions are rounded to that dtype; all else stays as the graph says, for positions, masks
    and normalisations do not survive eight bits of mantissa.
    """

    name = "torch"
    standard: Any = array_api_compat.torch

    def __init__(self, products: str | None = None) -> None:
        self._products = None if products is None else getattr(torch, products)
        self.device = torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.standard, name)
        if name not in _WITH_DTYPE | _LIKE | _CREATION:
            return function

        def with_dtype(*arguments: Any, **options: Any) -> Any:
            given = [_as_dtype(one) for one in arguments]
            if options.get("dtype") is not None:
                options["dtype"] = _as_dtype(options["dtype"])
            if name in _CREATION:
                options.setdefault("device", self.device)
            return function(*given, **options)

        return with_dtype

    def owns(self, value: Any) -> bool:
        """Whether ``value`` is a tensor, traced or not."""
        return isinstance(value, torch.Tensor)

    def from_host(self, array: np.ndarray[Any, Any]) -> Tensor:
        """A copy on the device; symbolic sizes become the numbers that they will be."""
        if array.dtype.kind == "O" and not any(isinstance(one, str | bytes) for one in array.flat):
            return self._sizes(array)
        if array.dtype.kind in _TEXT:
            raise EngineError("text is nothing that PyTorch computes with")
        dtype = torch_dtype(array.dtype)
        plain = _FOREIGN.get(array.dtype.name)
        ordered = np.asarray(array, order="C")
        if plain is None:
            return torch.tensor(ordered, device=self.device)
        return torch.tensor(ordered.view(plain), device=self.device).view(dtype)

    def to_host(self, x: Tensor) -> np.ndarray[Any, Any]:
        """The array as NumPy's; one that is being traced has no values yet."""
        if not self.eager or is_traced(x):
            raise ValueError("a traced tensor has no values yet")
        return numpy_array(x)

    def dtype_of(self, x: Tensor) -> np.dtype[Any]:
        """The dtype in NumPy's spelling."""
        return x.dtype if isinstance(x, np.ndarray) else _TO_NUMPY[x.dtype]

    def cast(self, x: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """``x`` in another dtype; what lies beyond an integer's range is the processor's to say."""
        return x.to(torch_dtype(np.dtype(dtype)))

    def scalar(self, value: float, like: Tensor) -> Tensor:
        """``value`` as a tensor without axes, in the dtype of ``like``."""
        return torch.full((), value, dtype=like.dtype, device=like.device)

    def positions(self, size: Any) -> Tensor:
        """The numbers below ``size``, in order."""
        return torch.arange(size, device=self.device)

    def erf(self, x: Tensor) -> Tensor:
        """The error function."""
        return torch.special.erf(x)

    def clip(self, x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
        """One kernel, and one for its gradient, where the bounds are numbers that are known."""
        bounds = [self._number(one) for one in (low, high)]
        if all(one is None for one in bounds):
            return x
        plain = all(one is None or isinstance(one, float | int) for one in bounds)
        if not x.dtype.is_floating_point or not plain or any(one != one for one in bounds):
            return super().clip(x, low, high)
        least, most = bounds
        if least is not None and most is not None and least <= most:
            return functional.hardtanh(x, least, most)
        return torch.relu(x) if bounds == [0, None] else torch.clamp(x, least, most)

    def sigmoid(self, x: Tensor) -> Tensor:
        """PyTorch's own kernel."""
        return torch.sigmoid(x)

    def gelu(self, x: Tensor) -> Tensor:
        """PyTorch's own kernel."""
        return functional.gelu(x)

    def layer_norm(
        self, x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
    ) -> Tensor:
        """PyTorch's own kernel where the scale has the shape that it wants."""
        shape = x.shape[axis % x.ndim :]
        if scale.shape != shape or (bias is not None and bias.shape != shape):
            return super().layer_norm(x, scale, bias, axis, epsilon)
        return functional.layer_norm(x, shape, scale, bias, epsilon)

    def fake_quantize(
        self, x: Tensor, scale: Tensor, zero: Tensor, axis: int, low: int, high: int
    ) -> Tensor:
        """PyTorch's own kernels, which know of float32 alone; the scale is not trained."""
        exact, steps, whole = x.float(), scale.detach().float(), zero.to(torch.int32)
        if scale.ndim == 0:
            held = torch.fake_quantize_per_tensor_affine(exact, steps, whole, low, high)
        else:
            place = axis % x.ndim
            held = torch.fake_quantize_per_channel_affine(exact, steps, whole, place, low, high)
        return held.to(x.dtype)

    def softmax(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """PyTorch's own kernel where there is one axis."""
        return torch.softmax(x, axes[0]) if len(axes) == 1 else super().softmax(x, axes)

    def take(self, x: Tensor, indices: Tensor, *, axis: int | None = None) -> Tensor:
        """The slices of ``x`` along ``axis`` that ``indices``, of one axis, name."""
        if axis is None:
            axis = 0
        return torch.index_select(x, axis, _from_the_end(indices, x.shape[axis]))

    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int = -1) -> Tensor:
        """The elements of ``x`` that ``indices`` name along ``axis``."""
        return torch.take_along_dim(x, _from_the_end(indices, x.shape[axis]).long(), dim=axis)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """The matrix product, as ``numpy.matmul`` broadcasts it."""
        a, b, back = self._factors(a, b)
        return back(torch.matmul(a, b))

    def tensordot(self, a: Tensor, b: Tensor, *, axes: Any = 2) -> Tensor:
        """The sum of products over ``axes``."""
        a, b, back = self._factors(a, b)
        return back(torch.tensordot(a, b, dims=axes))

    def einsum(self, equation: str, *operands: Tensor) -> Tensor:
        """Einstein's summation."""
        *narrow, back = self._factors(*operands)
        return back(torch.einsum(equation, *narrow))

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        strides: Sequence[int],
        pads: Sequence[tuple[int, int]],
        dilations: Sequence[int],
        groups: int,
    ) -> Tensor:
        """PyTorch's convolution; padding that differs before and after is laid on beforehand."""
        if not 1 <= len(pads) <= 3:
            raise EngineError(f"PyTorch convolves 1 to 3 axes, not {len(pads)}")
        if not x.dtype.is_floating_point:  # sums of integers below 2**53 are exact
            wide = (x.double(), weight.double())
            options = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}
            y = self.convolve(*wide, **options).to(x.dtype)  # type: ignore[arg-type]
            return self.biased(y, bias)
        if any(before is not after and before != after for before, after in pads):
            x = self.pad(x, [(0, 0), (0, 0), *pads], 0)
            pads = [(0, 0)] * len(pads)
        back: Callable[[Tensor], Tensor] = _same
        if not (self.eager and groups > 1 and weight.shape[1] == 1):
            # Eager depthwise kernels are five times slower in bf16 than in fp32 (oneDNN, AMX).
            x, weight, back = self._factors(x, weight)
        within = bias if back is _same else None
        y = _CONVOLUTIONS[len(pads)](
            x,
            weight,
            within,
            stride=tuple(strides),
            padding=tuple(before for before, _ in pads),
            dilation=tuple(dilations),
            groups=groups,
        )
        return y if within is not None else self.biased(back(y), bias)

    def reduce_windows(
        self,
        x: Tensor,
        kind: str,
        *,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> Tensor:
        """PyTorch's pooling where it has one for the dtype, and a view of all windows elsewhere."""
        axes = len(kernel)
        dense = kind == "max" or all(one == 1 for one in dilations)
        if not (x.dtype.is_floating_point and dense and axes <= 3):
            return _over_windows(x, kind, kernel, strides, dilations)
        outer, inner = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
        flat = x if len(outer) == 2 else x.reshape(1, math.prod(outer), *inner)
        if kind == "max":
            pooled = _MAX_POOLS[axes](flat, tuple(kernel), tuple(strides), 0, tuple(dilations))
        else:
            pooled = _sum_pool(flat, kernel, strides)
        return pooled if len(outer) == 2 else pooled.reshape(*outer, *pooled.shape[2:])

    def pad(self, x: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
        """``value`` before and after each axis."""
        if not x.dtype.is_floating_point and not x.dtype.is_complex:
            value = int(value)
        ends = [one for pair in reversed(pads) for one in pair]
        return functional.pad(x, ends, value=value)

    def scatter(
        self, x: Tensor, index: tuple[Tensor, ...], updates: Tensor, reduction: str
    ) -> Tensor:
        """PyTorch's; of several updates to one element without reduction any may stay."""
        rest = x.shape[len(index) :]
        named = updates.shape[: updates.ndim - len(rest)]
        places = tuple(torch.broadcast_to(one.long(), named) for one in index)
        updates = updates.to(x.dtype)
        if reduction in ("none", "add"):
            return torch.index_put(x, places, updates, accumulate=reduction == "add")
        place = places[0]
        for size, one in zip(x.shape[1:], places[1:], strict=False):
            place = place * size + one
        width = math.prod(rest)
        flat = x.reshape(math.prod(x.shape[: len(index)]), width)
        rows = place.reshape(-1, 1).expand(-1, width)
        changed = torch.scatter_reduce(
            flat, 0, rows, updates.reshape(rows.shape), _REDUCTIONS[reduction], include_self=True
        )
        return changed.reshape(x.shape)

    def scan(
        self,
        step: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Any],
        carry: tuple[Tensor, ...],
        xs: tuple[Tensor, ...],
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A loop in Python; in a trace, for more than :data:`UNROLLED` steps, PyTorch's own."""
        xs = tuple(self._tensor(x) for x in xs)
        carry = tuple(self._tensor(one) for one in carry)

        def once(state: Sequence[Tensor], x: Sequence[Tensor]) -> tuple[Any, Any]:
            after, y = step(tuple(state), tuple(x))
            return tuple(map(self._tensor, after)), tuple(map(self._tensor, y))

        length = xs[0].shape[0]
        if not self.eager and not (isinstance(length, int) and length <= UNROLLED):
            last, ys = along(once, carry, xs)
            return tuple(last), tuple(ys)
        kept: list[tuple[Tensor, ...]] = []
        for number in range(length):
            carry, y = once(carry, [x[number] for x in xs])
            kept.append(y)
        if kept:
            return carry, tuple(torch.stack(column) for column in zip(*kept, strict=True))
        _, y = once(carry, [x.new_zeros(x.shape[1:]) for x in xs])
        return carry, tuple(one.new_zeros((0, *one.shape)) for one in y)

    def choose(
        self,
        condition: Tensor,
        then: Callable[[], Sequence[Tensor]],
        otherwise: Callable[[], Sequence[Tensor]],
    ) -> Sequence[Tensor]:
        """One of them at once where the condition has a value; both in the trace otherwise."""
        if not self.owns(condition) or not is_traced(condition):
            return then() if bool(condition) else otherwise()
        return conditional(
            condition.reshape(()).bool(),
            lambda: [self._tensor(one) for one in then()],
            lambda: [self._tensor(one) for one in otherwise()],
        )

    def repeat_while(
        self,
        condition: Callable[[tuple[Tensor, ...]], Tensor],
        body: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
        carry: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """A loop in Python, or PyTorch's own in a trace: what it carries keeps its shapes there."""
        if not torch.compiler.is_exporting():
            while bool(condition(carry)):
                carry = tuple(body(carry))
            return carry
        return loop(
            lambda state: self._tensor(condition(state)).reshape(()).bool(),
            lambda state: tuple(self._tensor(one) for one in body(state)),
            tuple(self._tensor(one) for one in carry),
        )

    def _number(self, bound: Tensor | None) -> Any:
        """The value of a bound that is known and no array, as one that is trained is not."""
        if bound is None or not self.owns(bound):
            return bound
        known = self.eager and bound.ndim == 0 and not bound.requires_grad
        return bound.item() if known and bound.device.type == "cpu" else bound

    def _tensor(self, value: Any) -> Tensor:
        return value if self.owns(value) else self.from_host(np.asarray(value))

    def _sizes(self, array: np.ndarray[Any, Any]) -> Tensor:
        each = [torch.full((), size, dtype=torch.int64, device=self.device) for size in array.flat]
        if not each:
            return torch.zeros(array.shape, dtype=torch.int64, device=self.device)
        return torch.stack(each).reshape(array.shape)

    def _factors(self, *operands: Tensor) -> tuple[Any, ...]:
        """The factors of a product, rounded if that is asked for, and the way back."""
        if self._products is None or any(one.dtype != torch.float32 for one in operands):
            return (*operands, _same)
        return (*(one.to(self._products) for one in operands), torch.Tensor.float)


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """PyTorch's name for a dtype.

    Raises:
        EngineError: it has none.
    """
    found = _TO_TORCH.get(dtype)
    if found is None:
        kind = "text" if dtype.kind in _TEXT else str(dtype)
        raise EngineError(f"PyTorch does not compute with {kind}")
    return found


def numpy_array(x: torch.Tensor) -> np.ndarray[Any, Any]:
    """The values of ``x``, which share its memory if that is the host's."""
    x = x.detach().cpu()
    through = _THROUGH.get(x.dtype)
    if through is None:
        return x.numpy()
    plain, dtype = through
    return x.view(plain).numpy().view(dtype)


def is_traced(x: torch.Tensor) -> bool:
    """Whether ``x`` stands for values that are not there yet."""
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(x, FakeTensor) or torch.compiler.is_compiling()


def _same(x: Tensor) -> Tensor:
    return x


def _as_dtype(value: Any) -> Any:
    """NumPy's dtypes as PyTorch's; all else as it is."""
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return torch_dtype(np.dtype(value))
    return value


def _from_the_end(indices: Tensor, size: Any) -> Tensor:
    """Negative indices, which PyTorch's functions do not take, as what they stand for."""
    return torch.where(indices < 0, indices + size, indices)


def _sum_pool(x: Tensor, kernel: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Sums, as means that are divided by one; PyTorch lets that be chosen from two axes on."""
    if len(kernel) == 1:
        lifted = _sum_pool(x.unsqueeze(-2), (1, *kernel), (1, *strides))
        return lifted.squeeze(-2)
    pool: Callable[..., Any] = functional.avg_pool2d if len(kernel) == 2 else functional.avg_pool3d
    return pool(x, tuple(kernel), tuple(strides), divisor_override=1)


def _over_windows(
    x: Tensor, kind: str, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    first = x.ndim - len(kernel)
    for axis, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        span = dilation * (size - 1) + 1
        x = x.unfold(first + axis, span, stride)[..., ::dilation]
    axes = tuple(range(-len(kernel), 0))
    return torch.amax(x, axes) if kind == "max" else torch.sum(x, axes, dtype=x.dtype)
