"""Made-up inputs that a graph accepts, for where its owner gave none.

Each call has its own symbolic sizes and its own kind of values, so that what holds by chance at one
size (a batch of one, a mask of ones) is found out at another. A call that the original graph does
not accept is the caller's to drop; the calls differ enough that others are left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import ModelError
from lepton_ai.graph.applying import free_inputs
from lepton_ai.graph.bodies import inline_functions
from lepton_ai.graph.feeding.index_bounds import Bounds, Wanted, find_bounds
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.model.signature import Array, Arrays

#: Fewer calls than this do not tell one size, or one form of a mask, from another.
FEWEST_CALLS = 4
#: A size in each of the four calls. Batches have no least size; a few tokens are enough for a
#: sentence; images are halved five times by many networks, so that 64 and 96 leave some pixels.
BATCHES = (1, 3, 2, 1)
LENGTHS = (8, 13, 8, 24)
STEPS = (16, 24, 16, 48)
PIXELS = (64, 96, 64, 224)
#: Samples of sound: the first layers of speech networks take 400 at a time.
SOUND = (4000, 6400, 4000, 16000)
#: Standard deviation of the floats in each call: one with a larger range.
SCALES = (1.0, 1.0, 10.0, 1.0)
#: In sixteen bits, what is larger soon overflows.
NARROW_SCALE = 4.0
#: Integers that nothing bounds are digits; those that are counts or lengths are small.
LARGEST_FREE = 9
LARGEST_COUNT = 4
MOST_KEYS = 10_000
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "")

_TIME = ("seq", "token", "len", "time", "word", "step", "frame", "past")
_SOUND = ("sample", "audio", "wave")
_FLOATS = {"FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"}
_COMPLEX = {"COMPLEX64", "COMPLEX128"}
_INTEGERS = {f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}
_KNOWN = _FLOATS | _COMPLEX | _INTEGERS | {"BOOL", "STRING"}


def generate(
    model: ir.Model, *, seed: int = 0, sizes: Sequence[Mapping[str, int]] | None = None
) -> list[Arrays]:
    """Inputs for at least four calls of ``model``, the same for the same ``seed``.

    Floats are standard normal, ten times that in one call; integers stay inside the tables that
    they index; masks are ones, prefixes of ones, or ones here and there, at least one per row.
    Sizes of equal names are equal and stay within what the graph can take. ``sizes`` gives the
    symbolic sizes of each call, where they are known; the calls go through them in turn.

    Raises:
        ModelError: an input is not a tensor, or of a dtype that engines do not exchange.
    """
    for value in free_inputs(model):
        _check(value)
    copy = _prepared(model)
    inputs = free_inputs(copy)
    places = _places(inputs)
    bounds = find_bounds(copy, inputs, places)
    words = _words(copy)
    count = max(FEWEST_CALLS, len(sizes or ()))
    feeds = []
    for call in range(count):
        asked = sizes[call % len(sizes)] if sizes else {}
        chosen = _sizes(places, bounds, call, asked)
        rng = np.random.default_rng((seed, call))
        feeds.append(
            {
                str(value.name): _Values(value, bounds, chosen, call, rng).array(words)
                for value in inputs
            }
        )
    return feeds


def _check(value: ir.Value) -> None:
    if not isinstance(value.type, ir.TensorType):
        kind = "value without a type" if value.type is None else type(value.type).__name__
        raise ModelError(
            f"input {value.name!r} is a {kind.removesuffix('Type').lower()}, and only tensors can "
            "be made up; give real samples"
        )
    if value.dtype is None or value.dtype.name not in _KNOWN:
        raise ModelError(
            f"input {value.name!r} has the dtype {value.dtype}, which cannot be made up; give real "
            "samples"
        )


def _prepared(model: ir.Model) -> ir.Model:
    """A copy whose functions are inlined, whose every input size has a name, shapes inferred."""
    copy = model.clone()
    inline_functions(copy)
    for value in free_inputs(copy):
        shape = _guessed(value) if value.shape is None else list(value.shape)
        value.shape = ir.Shape(
            f"{value.name}.{axis}" if isinstance(size, ir.SymbolicDim) and not size.value else size
            for axis, size in enumerate(shape)
        )
    infer_shapes(copy)
    return copy


def _guessed(value: ir.Value) -> list[int | ir.SymbolicDim]:
    """The shape of an input of unknown rank, by its first reader that tells."""
    free = ir.SymbolicDim(None)
    for node, place in value.uses():
        others = [
            v for v in node.inputs if v is not None and v is not value and v.shape is not None
        ]
        shape = list(others[0].shape or ()) if others else []
        if node.op_type == "Conv" and place == 0 and len(shape) > 2:
            group, channels = node.attributes.get_int("group", 1), shape[1]
            width = channels * group if isinstance(channels, int) else free
            return [free, width, *[free] * (len(shape) - 2)]
        if node.op_type in ("MatMul", "Gemm") and place == 0 and len(shape) == 2:
            return [free, shape[node.attributes.get_int("transB", 0)]]
        if node.op_type in ("GRU", "LSTM", "RNN") and place == 0 and len(shape) == 3:
            return [free, free, shape[2]]
        if node.op_type in ("Add", "Sub", "Mul", "Div") and shape:
            return [free, *shape[1:]] if len(shape) > 1 else [free, *shape]
    return [free, free]


# --- sizes --------------------------------------------------------------------------------------


def _places(inputs: Sequence[ir.Value]) -> dict[str, tuple[ir.Value, int]]:
    """Where each symbolic size is seen first: its input and axis."""
    places: dict[str, tuple[ir.Value, int]] = {}
    for value in inputs:
        for axis, size in enumerate(value.shape or ()):
            if isinstance(size, ir.SymbolicDim) and size.value:
                places.setdefault(size.value, (value, axis))
    return places


def _sizes(
    places: Mapping[str, tuple[ir.Value, int]], bounds: Bounds, call: int, asked: Mapping[str, int]
) -> dict[str, int]:
    """A value for every symbolic size; sums and products of others (``past + 1``) come last."""
    chosen: dict[str, int] = {}
    others = 0
    for name, (value, axis) in places.items():
        choices = _choices(name, value, axis)
        # Sizes of two names may have to be equal all the same, so half of the calls keep them so.
        turn = call + others if call >= FEWEST_CALLS // 2 and choices is not BATCHES else call
        others += choices is not BATCHES
        if name in asked:
            chosen[name] = asked[name]
        elif name in bounds.exactly:
            chosen[name] = bounds.exactly[name]
        else:
            chosen[name] = _within(choices, bounds.most.get(name), turn)
    for name in places:
        if name not in asked and not name.isidentifier():
            chosen[name] = _computed(name, chosen)
    return chosen


def _choices(name: str, value: ir.Value, axis: int) -> tuple[int, ...]:
    lower, rank = name.lower(), len(value.shape or ())
    if "batch" in lower or (axis == 0 and not any(word in lower for word in _TIME)):
        return BATCHES
    is_float = value.dtype is not None and value.dtype.name in _FLOATS
    if any(word in lower for word in _TIME):
        return LENGTHS
    if any(word in lower for word in _SOUND):
        return SOUND
    if rank >= 3 and axis >= 2 and (is_float or rank >= 4):
        return PIXELS
    return STEPS if is_float else LENGTHS


def _within(choices: Sequence[int], most: int | None, call: int) -> int:
    """The choice for ``call``; where all would be cut to ``most``, every other call gets half."""
    wanted = choices[call % len(choices)]
    if most is None or wanted <= most:
        return wanted
    return most if call % 2 else max(1, most // 2)


def _computed(name: str, sizes: Mapping[str, int]) -> int:
    """The value of a size that is written as a formula of others, where all of them are known."""
    try:
        value = ir.SymbolicDim(name).evaluate(sizes)
    except ValueError:  # a name that is no formula, such as ``dynamic::0``
        return sizes[name]
    return max(1, value) if isinstance(value, int) else sizes[name]


# --- values -------------------------------------------------------------------------------------


def _words(model: ir.Model) -> dict[str, Sequence[str]]:
    """For each input that a table of words is looked up with, the words in that table."""
    found: dict[str, Sequence[str]] = {}
    for node in model.graph.all_nodes():
        keys = node.attributes.get("keys_strings")
        if keys is not None and node.inputs and node.inputs[0] is not None:
            found[str(node.inputs[0].name)] = list(keys.as_strings())[:MOST_KEYS]
    return found


@dataclass(frozen=True)
class _Values:
    """The values of one input in one call."""

    value: ir.Value
    bounds: Bounds
    sizes: Mapping[str, int]
    call: int
    rng: np.random.Generator

    def array(self, words: Mapping[str, Sequence[str]]) -> Array:
        """An array of the input's own dtype and, with this call's sizes, shape."""
        value = self.value
        assert value.dtype is not None, "inputs without a dtype were refused"
        shape = tuple(
            size if isinstance(size, int) else self.sizes[str(size.value)]
            for size in value.shape or ()
        )
        if value.dtype == ir.DataType.STRING:
            known = list(words.get(str(value.name), WORDS))
            return np.array(self.rng.choice(known, shape), dtype=object)
        wanted = self.bounds.values.get(str(value.name), Wanted())
        return np.asarray(self._numbers(wanted, value.dtype, shape)).astype(value.dtype.numpy())

    def _numbers(self, wanted: Wanted, dtype: ir.DataType, shape: tuple[int, ...]) -> Array:
        if self._is_mask(wanted, dtype):
            return self._mask(shape)
        if dtype == ir.DataType.BOOL:
            return self._some(shape)
        if dtype.name in _INTEGERS or wanted.limits:
            low, high = self._range(wanted, dtype)
            return self.rng.integers(low, high, shape, endpoint=True)
        scale = SCALES[self.call % len(SCALES)]
        if dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            scale = min(scale, NARROW_SCALE)
        numbers = self.rng.standard_normal(shape) * scale
        if dtype.name in _COMPLEX:
            return numbers + 1j * self.rng.standard_normal(shape) * scale
        return np.asarray(numbers)

    def _is_mask(self, wanted: Wanted, dtype: ir.DataType) -> bool:
        """By its name; or, for integers that index nothing, by what it is compared with."""
        if wanted.limits:
            return False
        named = "mask" in str(self.value.name).lower()
        return named or (wanted.is_mask and dtype.name in _INTEGERS)

    def _mask(self, shape: tuple[int, ...]) -> Array:
        """Ones; prefixes of ones of any length; and ones here and there."""
        form = self.call % FEWEST_CALLS
        if not shape or form == 0:
            return np.ones(shape, np.int64)
        if form == FEWEST_CALLS - 1:
            return self._some(shape)
        lengths = self.rng.integers(1, max(1, shape[-1]), shape[:-1], endpoint=True)
        return np.asarray(np.arange(shape[-1]) < np.asarray(lengths)[..., None]).astype(np.int64)

    def _some(self, shape: tuple[int, ...]) -> Array:
        """Zeros and ones, with a one at the beginning of each row."""
        some = self.rng.integers(0, 1, shape, endpoint=True)
        if shape and shape[-1]:
            some[..., 0] = 1
        return np.asarray(some)

    def _range(self, wanted: Wanted, dtype: ir.DataType) -> tuple[int, int]:
        """The least and the largest value that every table indexed has."""
        low = max(wanted.low, 1 if wanted.divides or wanted.is_count else 0)
        highest = np.iinfo(dtype.numpy()).max if dtype.name in _INTEGERS else None
        if not wanted.limits:
            if wanted.is_count:
                return low, LARGEST_COUNT
            if dtype.itemsize == 1 and highest is not None:
                least = 1 if wanted.divides else int(np.iinfo(dtype.numpy()).min)
                return least, int(highest)
            return low, LARGEST_FREE
        high = min(self._largest(*limit) for limit in wanted.limits)
        high = high if highest is None else min(high, int(highest))
        return min(low, max(high, 0)), max(high, 0)

    def _largest(self, length: int | str, scale: float, offset: float) -> int:
        """The largest value whose ``scale * value + offset`` is inside ``length``."""
        inside = self.sizes.get(length, LARGEST_FREE) if isinstance(length, str) else length
        return int((inside - 1 - offset) // scale) if scale > 0 else LARGEST_FREE
