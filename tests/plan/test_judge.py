from types import SimpleNamespace

import numpy as np

from lepton_ai.plan.judge import Judge


def ragged(*rows):
    outputs = np.empty(len(rows), dtype=object)
    outputs[:] = [np.float32(row) for row in rows]
    return outputs


def equality(reference, outputs, count):
    return Judge(SimpleNamespace(), SimpleNamespace(tune_outputs=reference)).equality(
        outputs, count
    )


def test_answers_of_unequal_shape_are_compared_sample_by_sample():
    reference = {"found": ragged([1, 2], [3], []), "count": np.array([2, 1, 0])}
    first = {"found": ragged([1, 2], [3]), "count": np.array([2, 1])}
    assert equality(reference, first, 2).equal
    lost = {"found": ragged([1, 2], []), "count": np.array([2, 1])}
    assert "shape (1,) became (0,)" in equality(reference, lost, 2).why
    moved = {"found": ragged([1, 2], [3.5]), "count": np.array([2, 1])}
    assert "differs by 0.5" in equality(reference, moved, 2).why
