"""The gate that every rewrite passes: are these answers the same answers?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lepton_ai.model.signature import Array, Arrays

#: What reordering a sum may change. Folding, merging and fusing reorder float additions; over a
#: reduction of k terms the error grows as eps * sqrt(k), and through some hundred layers to about
#: 1e-4 of an output's scale in float32 (eps 1.2e-7). The same count of roundings in a narrower
#: format: eps of float16 is 1e-3, of bfloat16 8e-3, of float64 2e-16.
RTOL = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
#: And what an output whose values are all tiny may differ by.
ATOL = {"float64": 1e-12}
ATOL_ELSE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Equality:
    """Whether two sets of answers are equal; if not, which output differs most, and why.

    ``largest_difference`` is relative to the output's own scale, ``max |a - b| / max |a|`` over
    all samples (absolute where the output is zero throughout).
    """

    equal: bool
    largest_difference: float
    output: str | None
    why: str


def check_equal(
    original_answers: Sequence[Arrays],
    rewritten_answers: Sequence[Arrays],
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> Equality:
    """Whether a rewritten graph answers as the original did, call by call.

    Names, shapes, dtypes and the places of NaN and infinity must be identical; so must integers,
    booleans and strings. A float output may differ by ``atol + rtol * max |a|``, its scale taken
    over all calls: relative to the output's own scale, since an element near zero carries the
    rounding of the large terms that it is the difference of. ``rtol`` and ``atol`` default to what
    reordered sums may change in the output's dtype (:data:`RTOL`, :data:`ATOL`).
    """
    if len(original_answers) != len(rewritten_answers):
        return _unequal(None, f"{len(original_answers)} answers became {len(rewritten_answers)}")
    if not original_answers:
        return _unequal(None, "there are no answers to compare")
    worst = Equality(equal=True, largest_difference=0.0, output=None, why="equal")
    for name in original_answers[0]:
        missing = next((a for a in rewritten_answers if name not in a), None)
        if missing is not None:
            return _unequal(name, f"output {name!r} is gone; there are {list(missing)}")
        one = _check_output(
            name,
            [answer[name] for answer in original_answers],
            [answer[name] for answer in rewritten_answers],
            rtol,
            atol,
        )
        if not one.equal:
            return one
        if one.largest_difference > worst.largest_difference:
            worst = one
    added = set(rewritten_answers[0]) - set(original_answers[0])
    return _unequal(min(added), f"output {min(added)!r} is new") if added else worst


def _check_output(
    name: str,
    original: Sequence[Array],
    rewritten: Sequence[Array],
    rtol: float | None,
    atol: float | None,
) -> Equality:
    for call, (a, b) in enumerate(zip(original, rewritten, strict=True)):
        fault = _fault(np.asarray(a), np.asarray(b))
        if fault:
            return _unequal(name, f"output {name!r}, call {call}: {fault}")
    kind = str(np.asarray(original[0]).dtype)
    if not _is_float(np.asarray(original[0])):
        return Equality(equal=True, largest_difference=0.0, output=name, why="identical")
    allowed = RTOL.get(kind, RTOL["float32"]) if rtol is None else rtol
    scale = max(_largest(np.asarray(a)) for a in original)
    apart = max(
        _largest(_finite(np.asarray(a)) - _finite(np.asarray(b)))
        for a, b in zip(original, rewritten, strict=True)
    )
    relative = apart / scale if scale > 0 else apart
    least = ATOL.get(kind, ATOL_ELSE) if atol is None else atol
    if apart <= least + allowed * scale:
        return Equality(equal=True, largest_difference=relative, output=name, why="equal")
    return Equality(
        equal=False,
        largest_difference=relative,
        output=name,
        why=f"output {name!r} differs by {apart:.3g} where its largest value is {scale:.3g}",
    )


def _fault(a: Array, b: Array) -> str:
    """What must be identical and is not; empty where all of it is."""
    if a.shape != b.shape:
        return f"shape {a.shape} became {b.shape}"
    if a.dtype.kind in "USO" and b.dtype.kind in "USO":
        return "" if np.array_equal(a.astype(str), b.astype(str)) else "text changed"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype} became {b.dtype}"
    if not _is_float(a):
        changed = int(np.count_nonzero(a != b))
        return f"{changed} of {a.size} values changed" if changed else ""
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return "NaN in other places"
    infinite = np.isinf(a) | np.isinf(b)
    if not np.array_equal(a[infinite], b[infinite]):
        return "infinity in other places"
    return ""


def _is_float(array: Array) -> bool:
    # bfloat16 and its like are foreign to NumPy, which files them under kind "V".
    return array.dtype.kind in "fcV"


def _finite(array: Array) -> Array:
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return np.where(np.isfinite(wide), wide, 0.0)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(_finite(array)), initial=0.0))


def _unequal(output: str | None, why: str) -> Equality:
    return Equality(equal=False, largest_difference=float("inf"), output=output, why=why)
