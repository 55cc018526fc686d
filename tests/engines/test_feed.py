"""What is said of a call that does not fit."""

import numpy as np
import pytest

from lepton_ai.engines.feed import TEXT, Feed, Wanted
from lepton_ai.errors import EngineError

FLOATS = Wanted(name="x", dtype=np.dtype("f4"), shape=(None, 4))
FEED = Feed(
    "engine",
    [
        FLOATS,
        Wanted(name="words", dtype=TEXT, shape=(None,)),
        Wanted(name="fixed", dtype=np.dtype("f4"), shape=(0,)),
        Wanted(name="sequence"),
        Wanted(name="spare", optional=True),
    ],
)
CALL = {
    "x": np.ones((2, 4), "f4"),
    "words": np.array(["a", "b"]),
    "fixed": np.ones(0, "f4"),
    "sequence": [np.ones(1)],
}


def test_a_call_that_fits():
    FEED.check(CALL)
    FEED.check({**CALL, "spare": None})
    FEED.refuse_empty(CALL)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": np.ones((2, 4))}, "input 'x' wants float32, and float64 came"),
        ({"x": np.ones((2, 3), "f4")}, r"input 'x' wants the shape \[any, 4\], not \[2, 3\]"),
        ({"x": np.ones(4, "f4")}, r"input 'x' wants the shape"),
        ({"x": [[1.0] * 4]}, "input 'x' wants a NumPy array, and a list came"),
        ({"words": np.ones(2)}, "input 'words' wants texts, and float64 came"),
        ({"y": np.ones(2)}, "no input is called 'y'"),
        ({"x": np.ones((0, 4), "f4")}, "input 'x' has no samples"),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    with pytest.raises(EngineError, match=sentence):
        FEED.check({**CALL, **change})


def test_what_is_missing_is_named():
    with pytest.raises(EngineError, match="input 'x' is missing"):
        FEED.check({name: value for name, value in CALL.items() if name != "x"})


def test_a_batch_of_nothing_is_refused_unless_that_is_the_size():
    with pytest.raises(EngineError, match="'words' has no samples"):
        FEED.refuse_empty({**CALL, "words": np.array([], "U1")})
