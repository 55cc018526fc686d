"""Does a bundle still answer here as it did where it was made?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_ai.bundle.golden import decode_calls
from lepton_ai.bundle.layout import GOLDEN_INPUTS, GOLDEN_OUTPUTS
from lepton_ai.bundle.manifest import Manifest
from lepton_ai.model.signature import Array, Arrays


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of replaying the golden calls.

    ``difference`` is the largest one found, relative to the scale of its output (its largest golden
    magnitude), or for texts, booleans and wide integers the share of values that differ; infinite
    where shapes differ. ``why`` says in words what does not match, and is empty when all does.
    """

    calls: int
    difference: float
    tolerance: float
    why: str

    @property
    def matches(self) -> bool:
        """Whether every call was answered as recorded."""
        return not self.why


def replay(path: Path, manifest: Manifest, run: Callable[[Arrays], Arrays]) -> Replay:
    """Replay the golden calls of the bundle at ``path`` through ``run``.

    Raises:
        BundleError: the golden calls cannot be read.
        EngineError: whatever ``run`` raises.
    """
    calls = decode_calls((path / GOLDEN_INPUTS).read_bytes())
    wanted = decode_calls((path / GOLDEN_OUTPUTS).read_bytes())
    came = [run(call) for call in calls]
    return compare(wanted, came, float(manifest.golden["tolerance"]))


def compare(wanted: Sequence[Arrays], came: Sequence[Arrays], tolerance: float) -> Replay:
    """How far the answers ``came`` are from those ``wanted``, call by call."""
    worst, why = 0.0, ""
    for name in wanted[0] if wanted else ():
        golden = [call[name] for call in wanted]
        scale = _scale(golden)
        for number, array in enumerate(golden):
            other = came[number].get(name)
            found = np.inf if other is None else difference(array, other, scale)
            worst = max(worst, found)
            if not why and found > tolerance:
                why = f"output {name!r} of golden call {number} differs by {found:.2g} of its scale"
            elif not why and other is not None and _changes_class(array, other, tolerance * scale):
                why = f"output {name!r} of golden call {number} names another class"
    return Replay(calls=len(wanted), difference=float(worst), tolerance=tolerance, why=why)


def difference(wanted: Array, came: Array, scale: float) -> float:
    """The largest difference of two arrays relative to ``scale``, as :class:`Replay` defines it."""
    if wanted.shape != came.shape:
        return float("inf")
    if wanted.size == 0:
        return 0.0
    if not _is_measured(wanted) or not _is_measured(came):
        return float(np.mean(wanted != came))
    left, right = wanted.astype(np.float64), came.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))  # infinities and NaN in place
    gap = np.where(same, 0.0, np.abs(np.where(same, 0.0, left) - np.where(same, 0.0, right)))
    return float(np.where(np.isfinite(gap), gap, np.inf).max() / scale)


def _is_measured(array: Array) -> bool:
    """Whether values are quantities; a wide integer is a name (a class, a token), not a quantity.

    bfloat16 has NumPy kind ``V``; 8-bit integers are pixels or quantised values.
    """
    kind = array.dtype.kind
    return kind in "fcV" or (kind in "iu" and array.dtype.itemsize == 1)


def _scale(golden: Sequence[Array]) -> float:
    """The largest finite magnitude over all calls, so that one near-zero answer is no trap."""
    largest = 0.0
    for array in golden:
        if array.size and _is_measured(array):
            values = np.abs(array.astype(np.float64))
            largest = max(largest, float(np.where(np.isfinite(values), values, 0.0).max()))
    return largest or 1.0


def _changes_class(wanted: Array, came: Array, margin: float) -> bool:
    """Whether a row of class scores with a clear winner has another one now."""
    if wanted.ndim != 2 or wanted.shape[1] < 2 or wanted.dtype.kind not in "fV":
        return False
    scores = wanted.astype(np.float64)
    top = np.sort(scores, axis=1)
    clear = top[:, -1] - top[:, -2] > margin
    moved = scores.argmax(axis=1) != came.astype(np.float64).argmax(axis=1)
    return bool(np.any(clear & moved))
