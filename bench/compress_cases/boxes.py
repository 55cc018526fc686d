"""A metric for ``optimize``: how far a CenterNet's boxes are those of the original.

It stands alone, so that a copy of this file beside the data is a metric of one's own.
"""

from collections.abc import Mapping

import numpy as np

KEYPOINTS, DISTANCES = "tower_0/keypoints", "tower_0/wh"
STRIDE = 4
SIDE = 512
#: What the original is sure of is the truth; what either only suspects is ranked or let be.
SURE, SUSPECTED = 0.3, 0.1
#: Boxes of one class that overlap by more are the same thing, found twice.
SAME_THING = 0.5
#: A box is found again where one of its class overlaps it by this much.
FOUND = 0.5
MOST_BOXES = 100

#: Class, score, left, top, right and bottom, in this order in each row.
_PLACE = slice(2, 6)


def agreement(outputs: Mapping, labels: object, reference: Mapping) -> np.ndarray:
    """Average precision at IoU 0.5 of the boxes of each frame, the original's taken for the truth.

    mAP@0.5 ranks the boxes found in all frames by score, class by class; each is right if it
    overlaps by half a box of the truth that no better one took; the area under precision over
    recall is averaged over classes. Here the same is done frame by frame, the classes of a frame in
    one ranking (boxes match within a class alone), so that each frame has a value from 0 to 1 of
    its own and their mean can be bounded. A class does not weigh as much for one box in a frame as
    another for ten. In both only the order of the scores counts, not how high they are.

    As in mAP, what is ranked goes down to low scores (0.1): a box of the original that has lost a
    little of its score is found all the same. As with COCO's crowds, a box where the original has
    one that it is less sure of than 0.3 is neither right nor wrong. A frame where the original is
    sure of nothing has 1, or 0 if a box is found that it does not even suspect.
    """
    pairs = zip(detections(outputs), detections(reference), strict=True)
    return np.array([_average_precision(ours, theirs) for ours, theirs in pairs])


def detections(outputs: Mapping) -> list[np.ndarray]:
    """Class, score, left, top, right, bottom of the boxes of each frame, by falling score."""
    scores, sizes = (
        np.asarray(outputs[name], np.float32).reshape(-1, *np.shape(outputs[name])[-3:])
        for name in (KEYPOINTS, DISTANCES)
    )
    return [_boxes(score, size) for score, size in zip(scores, sizes, strict=True)]


def _average_precision(ours: np.ndarray, theirs: np.ndarray) -> float:
    sure = theirs[:, 1] >= SURE
    truth, let_be = theirs[sure], theirs[~sure]
    if not len(truth):
        new = (ours[:, 1] >= SURE) & ~(_overlaps(ours, let_be) >= FOUND).any(axis=1)
        return 0.0 if new.any() else 1.0
    on_truth, on_let_be = _overlaps(ours, truth), _overlaps(ours, let_be)
    right: list[bool] = []
    for row, beside in zip(on_truth, on_let_be, strict=True):
        best = int(row.argmax())
        if row[best] >= FOUND:
            on_truth[:, best] = 0.0  # taken, in the rows to come
            right.append(True)
        elif not (beside >= FOUND).any():
            right.append(False)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    # Precision at a recall is the best at that recall or a higher one, as in COCO.
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * right).sum() / len(truth))


def _boxes(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Where a score is the largest of its class in the 3×3 cells around it, without doubles."""
    padded = np.pad(scores, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    y, x, kind = np.nonzero(scores >= SUSPECTED)
    found = scores[y, x, kind]
    around = [padded[y + down, x + right, kind] for down in range(3) for right in range(3)]
    peaks = np.flatnonzero(found >= np.maximum.reduce(around))
    best = peaks[np.argsort(-found[peaks], kind="stable")[:MOST_BOXES]]
    y, x, kind, found = y[best], x[best], kind[best], found[best]
    left, top, right, bottom = sizes[y, x].T
    middle = (x * STRIDE, y * STRIDE)
    places = (middle[0] - left, middle[1] - top, middle[0] + right, middle[1] + bottom)
    rows = np.column_stack([kind, found, *(np.clip(place, 0, SIDE) for place in places)])
    doubles = _overlaps(rows, rows) > SAME_THING
    kept: list[int] = []
    for row in range(len(rows)):
        if not doubles[row, kept].any():
            kept.append(row)
    return rows[kept]


def _overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair; 0 where the classes differ."""
    a, b = ours[:, None, _PLACE], theirs[None, :, _PLACE]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(each[..., 2:] - each[..., :2], 0, None).prod(axis=2) for each in (a, b)]
    overlaps = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    return np.where(ours[:, None, 0] == theirs[None, :, 0], overlaps, 0.0)
