"""The metric that the compression benchmark certifies its detector by."""

import numpy as np
import pytest

from compress_cases.boxes import DISTANCES, KEYPOINTS, agreement

PERSON, BUS = 0, 5


def outputs(*boxes: tuple[int, int, int, float], half: float = 20.0) -> dict[str, np.ndarray]:
    """One frame of a detector that finds ``boxes``: class, row, column, score."""
    scores = np.full((1, 128, 128, 80), 0.01, np.float32)
    for kind, row, column, score in boxes:
        scores[0, row, column, kind] = score
    return {KEYPOINTS: scores, DISTANCES: np.full((1, 128, 128, 4), half, np.float32)}


ORIGINAL = outputs((PERSON, 20, 20, 0.9), (PERSON, 60, 60, 0.5), (BUS, 100, 100, 0.31))


@pytest.mark.parametrize(
    ("ours", "value"),
    [
        (ORIGINAL, 1.0),
        # A little less sure of all: each is found, in the same order.
        (outputs((PERSON, 20, 20, 0.85), (PERSON, 60, 60, 0.45), (BUS, 100, 100, 0.29)), 1.0),
        # One cell beside where it was: the boxes overlap by more than half.
        (outputs((PERSON, 20, 21, 0.9), (PERSON, 60, 60, 0.5), (BUS, 100, 100, 0.31)), 1.0),
        (outputs((PERSON, 20, 20, 0.9), (PERSON, 60, 60, 0.5)), 2 / 3),
        # Another class is another thing.
        (outputs((PERSON, 20, 20, 0.9), (PERSON, 60, 60, 0.5), (PERSON, 100, 100, 0.31)), 2 / 3),
        # One that is not there costs what ranks below it: precision 1/2, 2/3 and 3/4, the best of
        # that and what follows.
        (
            outputs(
                *((PERSON, 20, 20, 0.9), (PERSON, 60, 60, 0.5), (BUS, 100, 100, 0.31)),
                (BUS, 20, 100, 0.95),
            ),
            3 / 4,
        ),
        (outputs((PERSON, 20, 20, 0.9), (PERSON, 60, 60, 0.5), (BUS, 100, 100, 0.31), half=9), 0.0),
        (outputs(), 0.0),
    ],
)
def test_average_precision_of_a_frame(ours: dict[str, np.ndarray], value: float) -> None:
    assert agreement(ours, None, ORIGINAL) == pytest.approx([value])


def test_a_frame_without_boxes() -> None:
    suspected = outputs((PERSON, 20, 20, 0.2))
    assert agreement(outputs(), None, outputs()) == [1.0]
    assert agreement(outputs((PERSON, 20, 20, 0.4)), None, suspected) == [1.0]
    assert agreement(outputs((PERSON, 20, 20, 0.4)), None, outputs()) == [0.0]


def test_what_the_original_suspects_is_neither_right_nor_wrong() -> None:
    original = outputs((PERSON, 20, 20, 0.9), (BUS, 100, 100, 0.25))
    assert agreement(outputs((PERSON, 20, 20, 0.9), (BUS, 100, 100, 0.95)), None, original) == [1.0]


def test_boxes_of_one_class_on_one_another_are_one() -> None:
    both = outputs((PERSON, 20, 20, 0.9), (PERSON, 20, 22, 0.8))
    assert agreement(outputs((PERSON, 20, 20, 0.9)), None, both) == [1.0]
