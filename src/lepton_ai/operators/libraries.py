"""Which library a node runs with: NumPy while all is known beforehand, else the graph's own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Namespace, namespaces
from lepton_ai.operators.operator import Meaning

#: Applies a meaning with one library to inputs that are its arrays.
Apply = Callable[[Namespace, list[Any]], list[Any]]


class Libraries:
    """The graph's library, and NumPy for what is known without running the network."""

    def __init__(self, own: Namespace) -> None:
        self.own = own
        self.host: Namespace = own if own.name == "numpy" else namespaces.get("numpy")()

    def run(
        self, meaning: Meaning, on_host: Sequence[bool], inputs: Sequence[Any], apply: Apply
    ) -> list[Any]:
        """The outputs; ``on_host`` says of each input whether the meaning wants it beforehand.

        Sizes that are not known yet go through NumPy's arrays of objects; where these cannot take
        them, and where they say how large a tensor is to be, the graph's library can.
        """

        def applied(xp: Namespace) -> list[Any]:
            results = apply(xp, self._placed(meaning, on_host, inputs, xp))
            return [_settled(one, xp is self.host) for one in results]

        free = [value for value, host in zip(inputs, on_host, strict=True) if not host]
        if meaning.as_is or not all(_known(value) for value in free):
            return applied(self.own)
        if not any(_symbolic(value) for value in inputs):
            return applied(self.host)
        if not any(_symbolic(value) for value in free):
            return applied(self.own)
        try:
            return applied(self.host)
        except (TypeError, ValueError, IndexError):
            return applied(self.own)

    def _placed(
        self, meaning: Meaning, on_host: Sequence[bool], inputs: Sequence[Any], xp: Namespace
    ) -> list[Any]:
        """The inputs as arrays of ``xp``, those that a meaning wants beforehand as NumPy's."""
        return [
            self._beforehand(value)
            if host
            else (value if meaning.as_is else self._moved(value, xp))
            for value, host in zip(inputs, on_host, strict=True)
        ]

    def _beforehand(self, value: Any) -> Any:
        if value is None or _known(value):
            return value
        try:
            return self.own.to_host(value)
        except ValueError as failure:
            raise EngineError("what it needs to know beforehand is computed from data") from failure

    def _moved(self, value: Any, xp: Namespace) -> Any:
        if isinstance(value, list):
            return [self._moved(one, xp) for one in value]
        if isinstance(value, np.ndarray) and xp is not self.host:
            return xp.from_host(value)
        return value


def _known(value: Any) -> bool:
    """Whether ``value`` is known without running the network; a list if all in it are."""
    if isinstance(value, list):
        return all(_known(one) for one in value)
    return value is None or isinstance(value, np.ndarray)


def _symbolic(value: Any) -> bool:
    """Whether ``value`` is an array of sizes some of which are not known yet."""
    if not isinstance(value, np.ndarray) or value.dtype != object or value.size == 0:
        return False
    return not isinstance(value.flat[0], str)


def _settled(value: Any, host: bool) -> Any:
    """What NumPy gives back without a box as an array again; sizes that are all known as such."""
    if isinstance(value, list):
        return [_settled(one, host) for one in value]
    if isinstance(value, np.generic | bool | int | float):
        return np.asarray(value)
    if not host or value is None or isinstance(value, dict):
        return value
    if not isinstance(value, np.ndarray):
        return np.asarray(value, dtype=object)
    if _symbolic(value) and all(isinstance(one, int | np.integer) for one in value.flat):
        return value.astype(np.int64)
    return value
