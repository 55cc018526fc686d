"""The table run with JAX: graphs are traced, and XLA compiles what comes out.

Values are never looked at: whatever decides the course of a computation has to be known on the
host, or is one of the three forms of control flow that XLA has. Sizes may be JAX's symbolic
dimensions; host arrays that hold them become arrays when they meet traced ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Namespace, Tensor

_REDUCERS: dict[str, Callable[..., Any]] = {"max": lax.max, "sum": lax.add}
_TEXT = "OSUT"


class JaxNamespace(Namespace):
    """``jax.numpy`` and ``jax.lax``.

    With ``products="bfloat16"`` the float32 factors of matrix products and of convolutions are
    rounded to that dtype, and their products are summed up in float32 all the same.
    """

    name = "jax"
    standard = jnp
    eager = False

    def __init__(self, products: str | None = None) -> None:
        self._products = None if products is None else jnp.dtype(products)

    def owns(self, value: Any) -> bool:
        """Whether ``value`` is a JAX array, traced or not."""
        return isinstance(value, jax.Array)

    def from_host(self, array: np.ndarray[Any, Any]) -> Tensor:
        """A constant of the program; symbolic sizes become the numbers that they will be."""
        if array.dtype.kind not in _TEXT:
            return jnp.asarray(array)
        if array.dtype.kind != "O" or any(isinstance(one, str | bytes) for one in array.flat):
            raise EngineError("text is nothing that XLA computes with")
        sizes = [jnp.asarray(size, dtype=np.int64) for size in array.flat]
        flat = jnp.stack(sizes) if sizes else jnp.zeros((0,), np.int64)
        return jnp.reshape(flat, array.shape)

    def to_host(self, x: Tensor) -> np.ndarray[Any, Any]:
        """The array as NumPy's; one that is being traced has no values yet."""
        if isinstance(x, jax.core.Tracer):
            raise ValueError("a traced array has no values yet")
        return np.asarray(x)

    def dtype_of(self, x: Tensor) -> np.dtype[Any]:
        """The dtype, which JAX and NumPy name alike."""
        dtype: np.dtype[Any] = np.dtype(x.dtype)
        return dtype

    def cast(self, x: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """``x`` in another dtype; numbers beyond a short integer's range wrap, as C's mostly do."""
        dtype = np.dtype(dtype)
        if dtype.kind in _TEXT:
            raise EngineError("text is nothing that XLA computes with")
        if jnp.issubdtype(x.dtype, jnp.floating) and dtype.kind in "iu":
            # XLA's own conversion stops at the ends of the range.
            if dtype.itemsize < 4:
                x = lax.convert_element_type(x, np.int32)
            elif dtype == np.uint32:
                x = lax.convert_element_type(x, np.int64)
        return lax.convert_element_type(x, dtype)

    def positions(self, size: Any) -> Tensor:
        """Counted up by the program, not kept in it."""
        return jnp.arange(size, dtype=np.int64)

    def erf(self, x: Tensor) -> Tensor:
        """XLA's error function."""
        return lax.erf(x)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """The matrix product, as ``numpy.matmul`` broadcasts it."""
        a, b, summed = self._factors(a, b)
        return jnp.matmul(a, b, preferred_element_type=summed)

    def tensordot(self, a: Tensor, b: Tensor, *, axes: Any = 2) -> Tensor:
        """The sum of products over ``axes``."""
        a, b, summed = self._factors(a, b)
        return jnp.tensordot(a, b, axes=axes, preferred_element_type=summed)

    def vecdot(self, a: Tensor, b: Tensor, *, axis: int = -1) -> Tensor:
        """The sum of products over one axis."""
        a, b, summed = self._factors(a, b)
        return jnp.vecdot(a, b, axis=axis, preferred_element_type=summed)

    def einsum(self, equation: str, *operands: Tensor) -> Tensor:
        """Einstein's summation."""
        *narrow, summed = self._factors(*operands)
        return jnp.einsum(equation, *narrow, preferred_element_type=summed)

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
        """XLA's convolution, whose default layout is ONNX's."""
        x, weight, summed = self._factors(x, weight)
        y = lax.conv_general_dilated(
            x,
            weight,
            window_strides=tuple(strides),
            padding=[(before, after) for before, after in pads],
            rhs_dilation=tuple(dilations),
            feature_group_count=groups,
            preferred_element_type=summed,
        )
        return self.biased(y, bias)

    def reduce_windows(
        self,
        x: Tensor,
        kind: str,
        *,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> Tensor:
        """XLA's reduction of windows, from the value that changes nothing."""
        outer = (1,) * (x.ndim - len(kernel))
        start = _lowest(x.dtype) if kind == "max" else np.zeros((), x.dtype)
        return lax.reduce_window(
            x,
            start,
            _REDUCERS[kind],
            window_dimensions=(*outer, *kernel),
            window_strides=(*outer, *strides),
            padding="VALID",
            window_dilation=(*outer, *dilations),
        )

    def pad(self, x: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
        """``value`` before and after each axis."""
        filling = lax.convert_element_type(value, x.dtype)
        return lax.pad(x, filling, [(before, after, 0) for before, after in pads])

    def scatter(
        self, x: Tensor, index: tuple[Tensor, ...], updates: Tensor, reduction: str
    ) -> Tensor:
        """XLA's scatter; of several updates to one element without reduction any may stay."""
        place = x.at[tuple(index)]
        methods = {
            "none": place.set,
            "add": place.add,
            "mul": place.multiply,
            "max": place.max,
            "min": place.min,
        }
        return methods[reduction](lax.convert_element_type(updates, x.dtype))

    def scan(
        self,
        step: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Any],
        carry: tuple[Tensor, ...],
        xs: tuple[Tensor, ...],
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """One loop of XLA's; the step is traced once."""

        def once(state: Any, x: Any) -> Any:
            after, y = step(state, x)
            return self._traced(tuple(after)), self._traced(tuple(y))

        last, ys = lax.scan(once, self._traced(tuple(carry)), self._traced(tuple(xs)))
        return last, ys

    def choose(
        self,
        condition: Tensor,
        then: Callable[[], Sequence[Tensor]],
        otherwise: Callable[[], Sequence[Tensor]],
    ) -> Sequence[Tensor]:
        """Both branches are traced, one of them runs; their outputs must agree in shape."""
        chosen: Sequence[Tensor] = lax.cond(
            self._truth(condition),
            lambda: self._traced(tuple(then())),
            lambda: self._traced(tuple(otherwise())),
        )
        return chosen

    def repeat_while(
        self,
        condition: Callable[[tuple[Tensor, ...]], Tensor],
        body: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
        carry: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """One loop of XLA's; what it carries keeps its shapes and dtypes."""
        last: tuple[Tensor, ...] = lax.while_loop(
            lambda state: self._truth(condition(state)),
            lambda state: self._traced(tuple(body(state))),
            self._traced(tuple(carry)),
        )
        return last

    def _factors(self, *operands: Tensor) -> tuple[Any, ...]:
        """The factors of a product, rounded if that is asked for, and the dtype of its sum."""
        if self._products is None or any(one.dtype != np.float32 for one in operands):
            return (*operands, None)
        return (*(lax.convert_element_type(one, self._products) for one in operands), jnp.float32)

    def _truth(self, condition: Any) -> Any:
        return jnp.reshape(jnp.asarray(condition, dtype=bool), ())

    def _traced(self, values: Any) -> Any:
        """Every leaf as an array of a definite dtype, which control flow compares strictly."""
        return jax.tree.map(self._definite, values)

    def _definite(self, value: Any) -> Any:
        if not isinstance(value, jax.Array):
            return self.from_host(np.asarray(value))
        return lax.convert_element_type(value, value.dtype)


def _lowest(dtype: Any) -> np.ndarray[Any, Any]:
    """What no element of ``dtype`` is below."""
    if dtype == np.bool_:
        return np.zeros((), dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        return np.array(-np.inf).astype(dtype)
    return np.array(np.iinfo(dtype).min, dtype)
