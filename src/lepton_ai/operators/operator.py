"""The table: for each ONNX operator a function that says what it means.

A meaning takes the :class:`Call`, the node's inputs in order (``None`` for those left out) and its
attributes by keyword, with the defaults of the current opset, and returns the output or a tuple of
them. ``call.opset`` tells the older forms apart.

Values that are known before the network runs stay NumPy arrays: initialisers, shapes, and whatever
is computed from those alone. That is how ``Reshape`` gets a shape that is a number while the rest
is being traced. Parameters that a meaning lists as ``host`` always come as NumPy arrays; the others
come as arrays of ``call.xp``, which is NumPy itself if all of them are known.

A meaning that is entered ``as_is`` gets the graph's own library, whatever is known, and its inputs
as they are: those that run a body, to whose nodes what is known stays known, and those that draw
random numbers, which they must refuse to do while the graph is being traced.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Namespace, Tensor

ONNX = ""
MICROSOFT = "com.microsoft"
#: Operators of our own, in graphs that are trained and never shipped.
LEPTON = "ai.lepton"

#: One module per family; importing it puts its operators into the table.
_FAMILIES = (
    "activation",
    "attention",
    "casting",
    "comparison",
    "control",
    "convolution",
    "creation",
    "detection",
    "elementwise",
    "indexing",
    "linear",
    "linear_models",
    "loss",
    "microsoft",
    "microsoft_attention",
    "microsoft_quantization",
    "normalization",
    "padding",
    "pooling",
    "quantization",
    "random",
    "recurrent",
    "reduction",
    "resizing",
    "sequence",
    "shape",
    "signal",
    "tabular",
    "text",
    "tree_ensembles",
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The circumstances of one evaluation of a node.

    ``outputs`` is how many outputs the node has; ``opset`` the version of its domain's operators;
    ``evaluate`` runs a subgraph, an attribute of the node, on positional inputs.
    """

    xp: Namespace
    opset: int
    outputs: int
    evaluate: Callable[[ir.Graph, Sequence[Tensor]], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What one operator computes."""

    name: str
    domain: str
    function: Callable[..., Any]
    host: frozenset[str]
    as_is: bool = False

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the inputs, in order; a variadic one last, with its star."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        found = list(inspect.signature(self.function).parameters.values())[1:]
        return tuple(
            ("*" if one.kind is kinds[1] else "") + one.name for one in found if one.kind in kinds
        )

    @cached_property
    def attributes(self) -> frozenset[str]:
        """The names of the attributes that it knows."""
        found = inspect.signature(self.function).parameters.values()
        return frozenset(one.name for one in found if one.kind is inspect.Parameter.KEYWORD_ONLY)

    @cached_property
    def most_inputs(self) -> float:
        """How many inputs it takes at most."""
        names = self.parameters
        return math.inf if names and names[-1].startswith("*") else len(names)

    def parameter(self, position: int) -> str:
        """The name of the input at ``position``, without a star."""
        names = self.parameters
        if position < len(names):
            return names[position].lstrip("*")
        if names and names[-1].startswith("*"):
            return names[-1].lstrip("*")
        raise EngineError(f"{self.name} takes {len(names)} inputs, not {position + 1}")


_table: dict[tuple[str, str], Meaning] = {}


def operator(
    *names: str, domain: str = ONNX, host: Sequence[str] = (), as_is: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function as the meaning of one operator, or of several that mean the same."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            if (domain, name) in _table:
                raise ValueError(f"{name} has two meanings")
            _table[domain, name] = Meaning(
                name=name, domain=domain, function=function, host=frozenset(host), as_is=as_is
            )
        return function

    return enter


def meanings() -> dict[tuple[str, str], Meaning]:
    """Every operator that has a meaning here, by domain and name."""
    for family in _FAMILIES:
        import_module(f"lepton_ai.operators.{family}")
    return _table


def integers(array: np.ndarray[Any, Any]) -> list[Any]:
    """The elements of a host array as Python integers, or as the symbolic sizes that they are."""
    flat = np.asarray(array).reshape(-1)
    return [size if flat.dtype == object else int(size) for size in flat]


def dtype_named(code: int) -> np.dtype[Any]:
    """The dtype of an ONNX element type, as ``to`` and ``dtype`` attributes give it."""
    return np.dtype(ir.DataType(code).numpy())
