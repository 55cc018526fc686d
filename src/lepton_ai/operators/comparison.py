"""Comparisons, logic, and the choice between two values."""

from lepton_ai.operators.elementwise import lined_up
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, operator


@operator("Equal")
def equal(
    call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """Where the two are equal."""
    return a == lined_up(call, a, b, axis, broadcast)


@operator("Greater")
def greater(
    call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """Where the first is greater."""
    return a > lined_up(call, a, b, axis, broadcast)


@operator("GreaterOrEqual")
def greater_or_equal(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Where the first is not less."""
    return a >= b


@operator("Less")
def less(
    call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """Where the first is less."""
    return a < lined_up(call, a, b, axis, broadcast)


@operator("LessOrEqual")
def less_or_equal(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Where the first is not greater."""
    return a <= b


@operator("And")
def both(
    call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """Where both hold."""
    return a & lined_up(call, a, b, axis, broadcast)


@operator("Or")
def either(
    call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """Where one of the two holds, or both."""
    return a | lined_up(call, a, b, axis, broadcast)


@operator("Xor")
def one_alone(
    call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """Where one of the two holds, and not both."""
    return a ^ lined_up(call, a, b, axis, broadcast)


@operator("Not")
def negation(call: Call, x: Tensor) -> Tensor:
    """Where the input does not hold."""
    return call.xp.logical_not(x)


@operator("Where")
def where(call: Call, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``x`` where the condition holds, ``y`` elsewhere."""
    return call.xp.where(condition, x, y)
