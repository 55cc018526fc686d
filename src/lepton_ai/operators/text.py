"""Texts, which are NumPy arrays of Python's strings whichever library runs the graph."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.operator import Call, operator

Host = np.ndarray[Any, Any]
#: What StringNormalizer does to case, by the name of it.
_CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


@operator("StringNormalizer", host=("x",))
def string_normalizer(
    call: Call,
    x: Host,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str = "en_US",
    stopwords: Sequence[str] = (),
) -> Host:
    """Texts without those that are stop words, in another case; Python knows one locale only."""
    if case_change_action not in _CASES:
        raise EngineError(f"case_change_action {case_change_action!r} is not known")
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
        raise EngineError(f"it takes texts in a row, not in the shape {x.shape}")
    folded: Callable[[str], str] = str if is_case_sensitive else str.lower
    stops = {folded(word) for word in stopwords}
    changed = _CASES[case_change_action]
    kept = [changed(word) for word in x.reshape(-1) if folded(word) not in stops] or [""]
    return np.array(kept, object).reshape((1, -1) if x.ndim == 2 else (-1,))


@operator("StringConcat", host=("a", "b"))
def string_concat(call: Call, a: Host, b: Host) -> Host:
    """Each text with the other behind it."""
    return np.asarray(a.astype(object) + b.astype(object), object)


@operator("StringSplit", host=("x",))
def string_split(
    call: Call, x: Host, *, delimiter: str = "", maxsplit: int | None = None
) -> tuple[Host, Host]:
    """The parts of each text between delimiters, filled up with empty ones; how many each has."""
    most = -1 if maxsplit is None else maxsplit
    parts = [text.split(delimiter or None, most) for text in x.reshape(-1)]
    counts = np.array([len(one) for one in parts], np.int64)
    out = np.full((x.size, counts.max(initial=0)), "", object)
    for row, one in zip(out, parts, strict=True):
        row[: len(one)] = one
    return out.reshape((*x.shape, out.shape[1])), counts.reshape(x.shape)


@operator("RegexFullMatch", host=("x",))
def regex_full_match(call: Call, x: Host, *, pattern: str) -> Host:
    """Whether the whole of each text matches; ``pattern`` is of RE2, which Python's covers."""
    try:
        # RE2 spells the end of a text in lower case.
        wanted = re.compile(re.sub(r"(?<!\\)((?:\\\\)*)\\z", r"\1\\Z", pattern))
    except re.error as failure:
        raise EngineError(f"pattern {pattern!r} cannot be read: {failure}") from failure
    matches = [wanted.fullmatch(text) is not None for text in x.reshape(-1)]
    return np.array(matches, np.bool_).reshape(x.shape)


@operator("TfIdfVectorizer", host=("x",))
def tf_idf_vectorizer(
    call: Call,
    x: Host,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Sequence[int],
    ngram_indexes: Sequence[int],
    pool_int64s: Sequence[int] = (),
    pool_strings: Sequence[str] = (),
    weights: Sequence[float] = (),
) -> Host:
    """How often each n-gram of a pool occurs in each row, as it is, weighted, or as a flag.

    The words of an n-gram may stand up to ``max_skip_count`` others apart, evenly.
    """
    if mode not in ("TF", "IDF", "TFIDF"):
        raise EngineError(f"mode {mode!r} is not known")
    lengths = range(min_gram_length, max_gram_length + 1)
    columns = {
        gram: ngram_indexes[place]
        for place, gram in enumerate(_grams(pool_strings or pool_int64s, ngram_counts))
        if len(gram) in lengths
    }
    rows = x.reshape(1, -1) if x.ndim < 2 else x
    found = np.zeros((len(rows), max(ngram_indexes) + 1), np.float32)
    for counted, row in zip(found, rows.tolist(), strict=True):
        for gram in _occurring(row, lengths, max_skip_count):
            if gram in columns:
                counted[columns[gram]] += 1
    if mode == "IDF":
        found = np.minimum(found, 1)
    if weights and mode != "TF":
        by_column = np.zeros(found.shape[1], np.float32)
        by_column[list(ngram_indexes)] = weights
        found = found * by_column
    return found.reshape(-1) if x.ndim < 2 else found


def _grams(pool: Sequence[Any], starts: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """The n-grams of the pool, which lists those of one word first, then those of two."""
    for length, (start, end) in enumerate(pairwise([*starts, len(pool)]), start=1):
        for at in range(start, end, length):
            yield tuple(pool[at : at + length])


def _occurring(
    row: list[Any], lengths: Sequence[int], most_skipped: int
) -> Iterator[tuple[Any, ...]]:
    """Every n-gram in the row; single words once, as there is nothing to skip in them."""
    for length in lengths:
        for step in range(1, 2 if length == 1 else most_skipped + 2):
            for at in range(len(row) - step * (length - 1)):
                yield tuple(row[at : at + step * (length - 1) + 1 : step])
