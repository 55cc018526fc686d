"""Samples in, three disjoint parts out: to calibrate with, to choose by, and to certify on.

The parts follow from the samples' content and a seed alone: the same samples in another order are
split alike, and samples of equal content always share a part, so that nothing that was used to
choose an artifact is used again to certify it.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from lepton_ai.data.raw import check_enough
from lepton_ai.data.samples import Samples
from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How much of the samples goes where; what is left over is for certifying.

    Calibration gains nothing from more than some hundred samples, and a choice nothing from more
    than some thousand; a certificate is the tighter the more it sees.
    """

    calibrate: float = 0.15
    tune: float = 0.35
    calibrate_at_most: int = 512
    tune_at_most: int = 4000


@dataclass(frozen=True, kw_only=True)
class Split:
    """Indices of samples, ``int64``, each part in an order that is random but repeatable."""

    calibrate: Array
    tune: Array
    certify: Array


def split(samples: Samples, *, seed: int = 0, shares: Shares | None = None) -> Split:
    """Split by content; see the module's description.

    Raises:
        DataError: fewer than ten samples, or fewer than three that differ.
    """
    shares = shares or Shares()
    count = len(samples)
    check_enough(count, "the data")
    groups = _groups(samples, seed)
    if len(groups) < 3:
        what = "all samples are equal" if len(groups) == 1 else "only two samples differ"
        raise DataError(
            f"{what} (of {count}), and calibrate, tune and certify need samples of their own; "
            "give data with more variety"
        )
    limits = (
        min(max(1, round(shares.calibrate * count)), shares.calibrate_at_most),
        min(max(2, round(shares.tune * count)), shares.tune_at_most),
    )
    parts = [np.asarray(part, dtype=np.int64) for part in _fill(groups, limits)]
    return Split(calibrate=parts[0], tune=parts[1], certify=parts[2])


def _groups(samples: Samples, seed: int) -> list[list[int]]:
    """Samples of equal content, the groups in the order of a hash of content and seed."""
    groups: dict[bytes, list[int]] = {}
    salt = repr(seed).encode()
    for index in range(len(samples)):
        key = hashlib.sha256(salt + b"\0" + samples.digest(index)).digest()
        groups.setdefault(key, []).append(index)
    return [groups[key] for key in sorted(groups)]


def _fill(groups: list[list[int]], limits: tuple[int, int]) -> tuple[list[int], ...]:
    # One group for each part first, the largest to certify on, so that none is left empty.
    first = sorted(groups[:3], key=len)
    calibrate, tune, certify = (list(group) for group in first)
    for group in groups[3:]:
        if len(calibrate) + len(group) <= limits[0]:
            calibrate += group
        elif len(tune) + len(group) <= limits[1]:
            tune += group
        else:
            certify += group
    return calibrate, tune, certify
