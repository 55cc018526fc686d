"""A metric for ``optimize``: how far a CenterNet's boxes are those of the original.

It stands alone, so that a copy of this file beside the data is a metric of one's own.
"""

from collections.abc import Mapping

import numpy as np

KEYPOINTS, DISTANCES = "tower_0/keypoints", "tower_0/wh"
STRIDE = 4
SIDE = 512
LEAST_SCORE = 0.3
#: Boxes of one class that overlap by more are the same thing, found twice.
SAME_THING = 0.5
#: A box is found again where one of its class overlaps it by this much.
FOUND = 0.5
MOST_BOXES = 100


def agreement(outputs: Mapping, labels: object, reference: Mapping) -> np.ndarray:
    """Average precision at IoU 0.5 of the boxes of each frame, the original's taken for the truth.

    mAP@0.5 ranks the boxes of one class over all frames by score, matches each to a box of the
    truth that it overlaps by half and that no better one took, and takes the area under precision
    over recall. Here the same is done frame by frame: the average precision of each class that
    either network finds in the frame (0 where the other does not find that class at all), and
    their mean. A frame where neither finds anything agrees: 1. So each frame has a value from 0 to
    1 of its own, and their mean can be bounded. It is the harsher of the two: a box missed costs
    1/n of a frame with n boxes of its class in both, but a false box has only the frame's own boxes
    to be ranked below, and a class with one box in one frame weighs as much there as any other.

    The boxes of either are those that score 0.3 or more after suppression. A box whose score falls
    from just above that to just below counts as missed, however little it moved.
    """
    ours, theirs = detections(outputs), detections(reference)
    pairs = zip(ours, theirs, strict=True)
    return np.array([_frame_agreement(our, their) for our, their in pairs])


def _frame_agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    classes = np.union1d(ours[:, 0], theirs[:, 0])
    if not len(classes):
        return 1.0
    return float(
        np.mean(
            [_average_precision(ours[ours[:, 0] == c], theirs[theirs[:, 0] == c]) for c in classes]
        )
    )


def _average_precision(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of boxes of one class, ours by falling score: the area under precision over recall."""
    if not len(ours) or not len(theirs):
        return 0.0
    overlaps = _overlaps(ours[:, 2:], theirs[:, 2:])
    right = np.zeros(len(ours))
    for place, row in enumerate(overlaps):
        best = int(row.argmax())
        if row[best] >= FOUND:
            right[place] = 1.0
            overlaps[:, best] = 0.0  # taken
    precision = np.cumsum(right) / np.arange(1, len(ours) + 1)
    # Precision at a recall is the best at that recall or a higher one, as COCO has it.
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * right).sum() / len(theirs))


def detections(outputs: Mapping) -> list[np.ndarray]:
    """Class, score, left, top, right, bottom of the boxes of each frame, by falling score."""
    scores = np.asarray(outputs[KEYPOINTS], np.float32).reshape(-1, *outputs[KEYPOINTS].shape[-3:])
    sizes = np.asarray(outputs[DISTANCES], np.float32).reshape(-1, *outputs[DISTANCES].shape[-3:])
    return [_boxes(score, size) for score, size in zip(scores, sizes, strict=True)]


def _boxes(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    y, x, kind = np.nonzero((scores >= LEAST_SCORE) & (scores == _largest_around(scores)))
    found = scores[y, x, kind]
    order = np.argsort(-found, kind="stable")[:MOST_BOXES]
    y, x, kind, found = y[order], x[order], kind[order], found[order]
    left, top, right, bottom = sizes[y, x].T
    places = np.stack(
        [x * STRIDE - left, y * STRIDE - top, x * STRIDE + right, y * STRIDE + bottom], axis=1
    )
    rows = np.column_stack([kind, found, np.clip(places, 0, SIDE)])
    return _suppressed(rows)


def _largest_around(scores: np.ndarray) -> np.ndarray:
    """The largest score of each class in the 3×3 cells around each cell."""
    height, width, _ = scores.shape
    padded = np.pad(scores, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows = np.maximum.reduce([padded[i : i + height] for i in range(3)])
    return np.maximum.reduce([rows[:, i : i + width] for i in range(3)])


def _suppressed(rows: np.ndarray) -> np.ndarray:
    """The rows that overlap no better one of their class by more than :data:`SAME_THING`."""
    same = (_overlaps(rows[:, 2:], rows[:, 2:]) > SAME_THING) & (rows[:, :1] == rows[:, 0])
    kept: list[int] = []
    for place in range(len(rows)):
        if not same[place, kept].any():
            kept.append(place)
    return rows[kept]


def _overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [
        np.prod(np.clip(each[:, 2:] - each[:, :2], 0, None), axis=1) for each in (ours, theirs)
    ]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
