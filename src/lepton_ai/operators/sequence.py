"""Sequences, which are Python lists, and optional values, which are ``None`` where absent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, integers, operator


@operator("SequenceConstruct")
def sequence_construct(call: Call, *inputs: Tensor) -> list[Tensor]:
    """The inputs as a sequence."""
    return list(inputs)


@operator("SequenceEmpty")
def sequence_empty(call: Call, *, dtype: int = 1) -> list[Tensor]:
    """A sequence of nothing."""
    return []


@operator("SequenceInsert", host=("position",))
def sequence_insert(
    call: Call, sequence: list[Tensor], tensor: Tensor, position: Any = None
) -> list[Tensor]:
    """The sequence with one more value, at its end unless told otherwise."""
    at = len(sequence) if position is None else integers(position)[0]
    _check(at, sequence, one_behind=True)
    place = at + len(sequence) if at < 0 else at
    return [*sequence[:place], tensor, *sequence[place:]]


@operator("SequenceErase", host=("position",))
def sequence_erase(call: Call, sequence: list[Tensor], position: Any = None) -> list[Tensor]:
    """The sequence without one of its values, the last unless told otherwise."""
    at = -1 if position is None else integers(position)[0]
    _check(at, sequence)
    place = at + len(sequence) if at < 0 else at
    return [*sequence[:place], *sequence[place + 1 :]]


@operator("SequenceAt", host=("position",))
def sequence_at(call: Call, sequence: list[Tensor], position: Any) -> Tensor:
    """One value of the sequence."""
    at = integers(position)[0]
    _check(at, sequence)
    return sequence[at]


@operator("SequenceLength")
def sequence_length(call: Call, sequence: list[Tensor]) -> np.ndarray[Any, Any]:
    """How many values the sequence has."""
    return np.asarray(len(sequence), np.int64)


@operator("SplitToSequence", host=("split",))
def split_to_sequence(
    call: Call, x: Tensor, split: Any = None, *, axis: int = 0, keepdims: int = 1
) -> list[Tensor]:
    """Slices along an axis: of one each, of one size each (the last may be smaller), or listed."""
    axis = axis % x.ndim
    size = x.shape[axis]
    whole = (slice(None),) * axis
    if split is None:
        last = [x[(*whole, at, ...)] for at in range(size)]
        return [call.xp.expand_dims(one, axis=axis) for one in last] if keepdims else last
    sizes = integers(split)
    if split.ndim == 0:
        sizes = [min(sizes[0], size - start) for start in range(0, size, sizes[0])]
    starts = [sum(sizes[:position]) for position in range(len(sizes))]
    return [x[(*whole, slice(at, at + n))] for at, n in zip(starts, sizes, strict=True)]


@operator("ConcatFromSequence")
def concat_from_sequence(
    call: Call, sequence: list[Tensor], *, axis: int, new_axis: int = 0
) -> Tensor:
    """The values side by side, along an axis that they have or along a new one."""
    if not sequence:
        raise EngineError("an empty sequence cannot be concatenated")
    joined = call.xp.stack if new_axis else call.xp.concat
    return joined(sequence, axis=axis)


@operator("SequenceMap", as_is=True)
def sequence_map(
    call: Call, sequence: list[Tensor], *more: Any, body: ir.Graph
) -> tuple[list[Any], ...]:
    """A subgraph for each value of a sequence, with others' values or with tensors beside it."""
    rows = []
    for position, one in enumerate(sequence):
        beside = [value[position] if isinstance(value, list) else value for value in more]
        rows.append(call.evaluate(body, [one, *beside]))
    return tuple([row[column] for row in rows] for column in range(len(body.outputs)))


@operator("Optional", as_is=True)
def optional(call: Call, value: Any = None, *, type: Any = None) -> Any:  # noqa: A002  ONNX's own name
    """The value, or an absent one."""
    return value


@operator("OptionalGetElement", as_is=True)
def optional_get_element(call: Call, value: Any) -> Any:
    """The value itself."""
    if value is None:
        raise EngineError("it is to give the value of an optional that has none")
    return value


@operator("OptionalHasElement", as_is=True)
def optional_has_element(call: Call, value: Any = None) -> np.ndarray[Any, Any]:
    """Whether there is a value."""
    return np.asarray(value is not None)


def _check(at: int, sequence: Sequence[Any], one_behind: bool = False) -> None:
    if not -len(sequence) <= at < len(sequence) + one_behind:
        raise EngineError(f"position {at} is not in a sequence of {len(sequence)}")
