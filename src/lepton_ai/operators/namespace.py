"""What an operator may ask of the library that its arrays belong to.

The Python array API standard covers most of it (https://data-apis.org/array-api/): an attribute
that is not defined here is looked up there, so that ``xp.exp(x)`` is the library's own. What the
standard lacks is listed below, and each library says how it does it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_ai.registry import Registry

#: An array of whichever library: shapes may hold symbolic sizes while a graph is traced.
Tensor = Any


class Namespace(ABC):
    """One array library. ``standard`` is its namespace of the array API standard."""

    name: str
    standard: Any
    #: Whether values can be looked at while the graph runs; if not, it is being traced.
    eager: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.standard, name)

    @abstractmethod
    def owns(self, value: Any) -> bool:
        """Whether ``value`` is an array of this library."""

    @abstractmethod
    def from_host(self, array: np.ndarray[Any, Any]) -> Tensor:
        """A NumPy array as one of this library's."""

    @abstractmethod
    def to_host(self, x: Tensor) -> np.ndarray[Any, Any]:
        """The array as NumPy's; raises ``ValueError`` for one whose values are not known yet."""

    @abstractmethod
    def dtype_of(self, x: Tensor) -> np.dtype[Any]:
        """The dtype of ``x`` as NumPy (with ``ml_dtypes``) names it."""

    @abstractmethod
    def cast(self, x: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """``x`` in another dtype, as C converts: floats to integers towards zero."""

    def scalar(self, value: Any, like: Tensor) -> Tensor:
        """``value`` as an array without axes, of the dtype of ``like``."""
        return self.from_host(np.asarray(value, dtype=self.dtype_of(like)))

    def positions(self, size: Any) -> Tensor:
        """``0, 1, ... size - 1`` in int64; ``size`` may be symbolic."""
        if isinstance(size, int):
            return self.from_host(np.arange(size, dtype=np.int64))
        return self.standard.arange(size)

    def clip(self, x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
        """``x`` within bounds, which broadcast to it; where they cross, the upper one holds."""
        bounds = [
            one if one is None or self.owns(one) else self.scalar(one, x) for one in (low, high)
        ]
        if bounds[0] is not None:
            x = self.standard.maximum(x, bounds[0])
        return x if bounds[1] is None else self.standard.minimum(x, bounds[1])

    def sigmoid(self, x: Tensor) -> Tensor:
        """``1 / (1 + exp(-x))``."""
        return 1 / (1 + self.standard.exp(-x))

    def gelu(self, x: Tensor) -> Tensor:
        """``x`` times the normal distribution at ``x``."""
        return 0.5 * x * (1 + self.erf(x * math.sqrt(0.5)))

    def softmax(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Exponentials that add up to one over ``axes`` together."""
        powers = self.standard.exp(x - self.standard.max(x, axis=axes, keepdims=True))
        return powers / self.standard.sum(powers, axis=axes, keepdims=True)

    def layer_norm(
        self, x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
    ) -> Tensor:
        """The axes from ``axis`` on with a mean of zero and a variance of one, then scaled."""
        axes = tuple(range(axis % x.ndim, x.ndim))
        apart = x - self.standard.mean(x, axis=axes, keepdims=True)
        variance = self.standard.mean(apart * apart, axis=axes, keepdims=True)
        y = apart / self.standard.sqrt(variance + epsilon) * scale
        return y if bias is None else y + bias

    def fake_quantize(
        self, x: Tensor, scale: Tensor, zero: Tensor, axis: int, low: int, high: int
    ) -> Tensor:
        """``x`` at the nearest of ``(q - zero) * scale`` for the integers q of a range.

        ``scale`` and ``zero`` have no axes, or are along ``axis`` of ``x``. In PyTorch gradients
        pass as if nothing were rounded, and end where ``x`` is out of range.
        """
        spread = [-1 if place == axis % x.ndim else 1 for place in range(x.ndim)]
        steps, offset = (
            self.standard.reshape(self.cast(one, self.dtype_of(x)), spread if one.ndim else ())
            for one in (scale, zero)
        )
        held = self.clip(x, (low - offset) * steps, (high - offset) * steps)
        return self.standard.round(held / steps) * steps

    @abstractmethod
    def erf(self, x: Tensor) -> Tensor:
        """The error function."""

    @abstractmethod
    def einsum(self, equation: str, *operands: Tensor) -> Tensor:
        """Einstein's summation, in NumPy's notation."""

    @abstractmethod
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
        """Cross-correlation: ``x`` [N, C, *spatial], ``weight`` [M, C / groups, *kernel].

        ``bias`` [M] is added. ``pads`` are zeros before and after each axis, never negative.
        """

    def biased(self, y: Tensor, bias: Tensor | None) -> Tensor:
        """``y`` [N, M, *spatial] with ``bias`` [M] added."""
        if bias is None:
            return y
        return y + self.standard.reshape(bias, (1, -1, *[1] * (y.ndim - 2)))

    @abstractmethod
    def reduce_windows(
        self,
        x: Tensor,
        kind: str,
        *,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> Tensor:
        """The ``"max"`` or the ``"sum"`` of each window over the last ``len(kernel)`` axes.

        ``x`` is padded already; windows that do not fit whole are not there.
        """

    @abstractmethod
    def pad(self, x: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
        """``value`` before and after each axis; ``pads`` are never negative."""

    @abstractmethod
    def scatter(
        self, x: Tensor, index: tuple[Tensor, ...], updates: Tensor, reduction: str
    ) -> Tensor:
        """A copy of ``x`` with ``updates`` at ``x[index]``.

        ``index`` holds integer arrays, never negative, that broadcast to ``updates``. ``reduction``
        is ``"none"``, ``"add"``, ``"mul"``, ``"max"`` or ``"min"``, and takes every update into
        account where an element is named twice.
        """

    @abstractmethod
    def scan(
        self,
        step: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Any],
        carry: tuple[Tensor, ...],
        xs: tuple[Tensor, ...],
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """``carry, y = step(carry, x)`` along the first axis of ``xs``; the last carry, all ``y``.

        ``y`` is a tuple of arrays that keep their shapes from step to step; they come back stacked.
        """

    @abstractmethod
    def choose(
        self,
        condition: Tensor,
        then: Callable[[], Sequence[Tensor]],
        otherwise: Callable[[], Sequence[Tensor]],
    ) -> Sequence[Tensor]:
        """What ``then`` or ``otherwise`` answers, by a boolean that may be known only later."""

    @abstractmethod
    def repeat_while(
        self,
        condition: Callable[[tuple[Tensor, ...]], Tensor],
        body: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
        carry: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """``carry = body(carry)`` for as long as ``condition(carry)`` holds."""


namespaces: Registry[type[Namespace]] = Registry("namespaces")
namespaces.register("numpy", "lepton_ai.operators.namespaces.numpy:NumpyNamespace")
namespaces.register("torch", "lepton_ai.operators.namespaces.torch:TorchNamespace")
namespaces.register("jax", "lepton_ai.operators.namespaces.jax:JaxNamespace")
