"""Lessons that are held out: asked while a student is taught, to end where it gets no better.

What is learnt by heart helps those that are taught alone. The teacher answers them once; the
student is asked few enough of them that this takes a small part of teaching.
"""

from collections.abc import Callable, Sequence

import torch

from lepton_ai.model.signature import Arrays
from lepton_ai.train.lessons import Lessons

#: How often in a schedule they are asked.
LOOKS = 20
#: How many times in a row the answers may get no better: while the rate is high, they often do not.
_PATIENCE, _NO_BETTER = 8, 0.99
#: Of as many samples as are taught in a schedule, the share that is held out at most, and the
#: fewest that tell anything.
_SHARE, _FEWEST = 1 / 64, 8
_LEAST_VARIANCE = 1e-12

#: The answers to calls that are joined.
Answer = Callable[[Arrays], Sequence[torch.Tensor]]


class Watching:
    """The first of ``lessons``, ``batch`` at a time, with what ``teacher`` answers to them.

    ``taught`` is how many samples the whole schedule teaches.
    """

    def __init__(self, lessons: Lessons, teacher: Answer, *, batch: int, taught: int) -> None:
        self._lessons = lessons
        most = max(_FEWEST, int(taught * _SHARE))
        self._picks = list(lessons.whole(batch, most))
        with torch.no_grad():
            self._wanted = [_floats(teacher(lessons.read(pick))) for pick in self._picks]
        self._variances = [
            float(torch.cat([each[place] for each in self._wanted]).var(correction=0))
            for place in range(len(self._wanted[0]))
        ]

    def loss(self, student: Answer) -> float:
        """What the answers of ``student`` differ by, as a share of what the teacher's vary by."""
        squares = [0.0] * len(self._variances)
        counts = [0] * len(self._variances)
        for pick, wanted in zip(self._picks, self._wanted, strict=True):
            with torch.no_grad():
                given = _floats(student(self._lessons.read(pick)))
            for place, (one, other) in enumerate(zip(given, wanted, strict=True)):
                squares[place] += float(torch.square(one - other).sum())
                counts[place] += other.numel()
        shares = zip(squares, counts, self._variances, strict=True)
        return sum(square / count / (v + _LEAST_VARIANCE) for square, count, v in shares)


def has_stalled(losses: Sequence[float]) -> bool:
    """Whether the last looks found nothing better than those before them."""
    before, last = losses[:-_PATIENCE], losses[-_PATIENCE:]
    return bool(before) and min(last) > min(before) * _NO_BETTER


def _floats(answers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [each.float().reshape(-1) for each in answers if each.dtype.is_floating_point]
