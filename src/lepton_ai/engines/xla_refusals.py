"""What XLA cannot compile, told in a sentence that names the node."""

import re

from lepton_ai.engines.xla_client import jax_here
from lepton_ai.errors import first_line
from lepton_ai.graph.graph_report import Refusal

#: How the table of meanings names the node that failed.
_NODE = re.compile(r"^(?P<operator>[\w.]+) node '(?P<node>.*?)': (?P<reason>.*)", re.DOTALL)
_UNKNOWN_SIZES = (
    "what it computes has a size that depends on the data, and XLA compiles for sizes known "
    "beforehand"
)
#: What the table says of an input that a meaning has to know.
_FROM_DATA = "computed from data"


def complaint(failure: Exception) -> str:
    """Why a graph cannot be traced, in one line."""
    text = str(failure).strip()
    named = _NODE.match(text)
    if depends_on_data(failure):
        label = f"{named['operator']} node {named['node']!r}: " if named else ""
        return label + _UNKNOWN_SIZES
    return first_line(failure)


def depends_on_data(failure: BaseException) -> bool:
    """Whether a graph cannot be traced because values decide about sizes or the course taken."""
    errors = jax_here().errors
    wanting = (
        errors.ConcretizationTypeError,
        errors.TracerArrayConversionError,
        errors.TracerIntegerConversionError,
        errors.NonConcreteBooleanIndexError,
    )
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, wanting) or _FROM_DATA in str(cause):
            return True
        cause = cause.__cause__
    return False


def named_in(text: str) -> tuple[Refusal, ...]:
    """The node that a complaint names, if it names one."""
    found = _NODE.match(text.removeprefix("xla refuses the graph: "))
    if not found:
        return ()
    return (Refusal(node=found["node"], operator=found["operator"], reason=found["reason"]),)
