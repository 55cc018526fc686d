"""One small, loud registry: names to things, loaded when first asked for.

Built-ins and plug-ins enter by the same door. A built-in is one line,
``engines.register("openvino", "lepton_ai.engines.openvino:OpenVino")``; a plug-in is the same pair
in an entry point of the group ``lepton_ai.<kind>``. Nothing is imported before it is asked for, so
that listing names stays free of heavy libraries. A duplicate, unknown or broken entry is an error.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from lepton_ai.errors import MissingExtraError, RegistryError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named entries of one kind, each ``"module:attribute"`` until it is first used."""

    def __init__(self, kind: str, *, extra: str = "all") -> None:
        self.kind = kind
        self.extra = extra
        self._targets: dict[str, str] = {}
        self._plugins_read = False

    def register(self, name: str, target: str) -> None:
        """Add ``name``; raise :class:`RegistryError` when another target holds it already."""
        held = self._targets.get(name)
        if held is not None and held != target:
            raise RegistryError(f"{self.kind} {name!r} is registered twice: {held} and {target}")
        self._targets[name] = target

    def names(self) -> tuple[str, ...]:
        """Every registered name, in order of registration, plug-ins last."""
        self._read_plugins()
        return tuple(self._targets)

    def get(self, name: str) -> T:
        """Load the entry ``name``.

        Raises:
            UnknownNameError: no such name; the message lists those known.
            MissingExtraError: the entry needs a package that is not installed.
            RegistryError: the entry's target does not exist.
        """
        self._read_plugins()
        target = self._targets.get(name)
        if target is None:
            known = ", ".join(self._targets) or "none"
            raise UnknownNameError(
                f"none of the {self.kind} is called {name!r}; known are: {known}"
            )
        module, _, attribute = target.partition(":")
        try:
            return cast(T, getattr(import_module(module), attribute))
        except ModuleNotFoundError as failure:
            raise self._explain(name, target, failure) from failure
        except AttributeError as failure:
            raise RegistryError(f"{self.kind} {name!r}: {target} does not exist") from failure

    def items(self) -> Iterator[tuple[str, T]]:
        """Every name with its loaded entry."""
        return ((name, self.get(name)) for name in self.names())

    def _explain(self, name: str, target: str, failure: ModuleNotFoundError) -> Exception:
        missing = (failure.name or "").partition(".")[0]
        if missing and not target.startswith(missing):
            return MissingExtraError(missing, self.extra)
        return RegistryError(f"{self.kind} {name!r}: {target} cannot be imported: {failure}")

    def _read_plugins(self) -> None:
        if self._plugins_read:
            return
        self._plugins_read = True
        for point in entry_points(group=f"lepton_ai.{self.kind}"):
            self.register(point.name, cast(Any, point).value)
