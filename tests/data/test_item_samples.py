from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lepton_ai.data import item_samples
from lepton_ai.data.item_samples import ItemSamples
from lepton_ai.errors import DataError
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Arrays, Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec(name="codes", dtype="int64", shape=("batch", "length")),), outputs=()
)


class CodePoints(Processing):
    """Texts as the numbers of their characters, padded with zeros."""

    kind = "code-points"

    def __init__(self) -> None:
        self.fed = 0

    def feed(self, raws) -> Arrays:
        self.fed += 1
        if not all(isinstance(raw, str) for raw in raws):
            raise DataError("text 0 is not a text")
        longest = max(map(len, raws))
        rows = [[ord(c) for c in raw] + [0] * (longest - len(raw)) for raw in raws]
        return {"codes": np.asarray(rows, dtype=np.int64)}

    def present(self, outputs: Arrays) -> list[dict[str, Any]]:
        return []

    def settings(self) -> dict[str, Any]:
        return {}

    @classmethod
    def rebuild(cls, settings: Mapping[str, Any], files: Mapping[str, bytes]) -> "CodePoints":
        return cls()


def of(items, per_call=1, signature=SIGNATURE):
    return ItemSamples(
        items, processing=CodePoints(), signature=signature, per_call=per_call, labels=None
    )


def test_each_call_is_processed_for_itself():
    samples = of(["ab", "cde", "f"])
    assert samples.feed([0])["codes"].tolist() == [[97, 98]]
    assert samples.feed([0, 1])["codes"].tolist() == [[97, 98, 0], [99, 100, 101]]


def test_a_call_is_processed_once():
    samples = of(["ab", "cde"])
    for _ in range(3):
        list(samples.calls([0, 1]))
    assert samples.processing.fed == 2


def test_the_cache_is_bounded_and_answers_stay_right(monkeypatch):
    monkeypatch.setattr(item_samples, "_CACHE_BYTES", 20)
    samples = of(["ab", "cd", "ef"])
    for _ in range(3):
        assert samples.feed([2])["codes"].tolist() == [[101, 102]]
        assert samples.feed([0])["codes"].tolist() == [[97, 98]]
    assert samples._fed_bytes <= 20
    assert samples.processing.fed == 1 + 3


def test_a_sample_that_cannot_be_processed_is_named():
    with pytest.raises(DataError, match="sample 1: text 0 is not a text"):
        of(["ab", 7]).feed([1])


def test_a_sample_that_does_not_fit_is_named():
    fixed = Signature(
        inputs=(TensorSpec(name="codes", dtype="int64", shape=("batch", 2)),), outputs=()
    )
    samples = of(["ab", "abc"], signature=fixed)
    samples.feed([0])
    with pytest.raises(DataError, match=r"sample 1: input codes.*axis 1 wants 2"):
        samples.feed([1])


def test_files_are_known_by_content(tmp_path):
    for name, content in [("a", b"1"), ("b", b"1"), ("c", b"2")]:
        (tmp_path / name).write_bytes(content)
    samples = of([tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "gone"])
    assert samples.digest(0) == samples.digest(1) != samples.digest(2)
    with pytest.raises(DataError, match="gone cannot be read"):
        samples.digest(3)
    with pytest.raises(DataError, match=r"sample 2 \(.*c\)"):
        samples.feed([2])


def test_texts_images_and_arrays_are_known_by_content():
    red, blue = Image.new("RGB", (2, 3), "red"), Image.new("RGB", (2, 3), "blue")
    items = ["a", "a", "b", red, red.copy(), blue, np.zeros(2), np.zeros(2), np.zeros(3)]
    samples = of(items)
    digests = [samples.digest(index) for index in range(len(items))]
    assert digests[0] == digests[1]
    assert digests[3] == digests[4]
    assert digests[6] == digests[7]
    assert len(set(digests)) == 6
