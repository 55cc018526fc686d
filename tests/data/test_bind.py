import ml_dtypes
import numpy as np
import pytest

from lepton_ai.data.bind import bind
from lepton_ai.data.raw import UNNAMED, RawData
from lepton_ai.errors import DataError
from lepton_ai.model.image import ImageClassification, ImageSettings
from lepton_ai.model.signature import Signature, TensorSpec


def signature(outputs=(), **inputs):
    """Inputs as ``name=(dtype, *shape)``; ``...`` for an unknown rank."""
    specs = [
        TensorSpec(name=name, dtype=dtype, shape=None if shape == [...] else tuple(shape))
        for name, (dtype, *shape) in inputs.items()
    ]
    return Signature(inputs=tuple(specs), outputs=tuple(outputs))


def raw(labels=None, **arrays):
    return RawData(name="data", arrays=arrays, labels=labels)


def bare(array):
    return RawData(name="data", arrays={UNNAMED: array})


X = np.arange(36, dtype=np.float32).reshape(12, 3)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_an_input_with_a_batch_axis_gets_slices(batch):
    samples = bind(raw(x=X), signature(x=("float32", batch, 3)), None)
    assert (len(samples), samples.per_call, samples.has_batch_axis) == (12, 1, True)
    fed = samples.feed([4])["x"]
    np.testing.assert_array_equal(fed, X[4:5])
    assert np.shares_memory(fed, X)


def test_an_input_without_one_gets_bare_samples():
    samples = bind(raw(x=X), signature(x=("float32", 3)), None)
    assert not samples.has_batch_axis
    np.testing.assert_array_equal(samples.feed([4])["x"], X[4])


def test_a_fixed_batch_is_filled():
    samples = bind(raw(x=X), signature(x=("float32", 8, 3)), None)
    assert samples.per_call == 8
    assert [call["x"].shape for call in samples.calls(range(12))] == [(8, 3), (8, 3)]


def test_a_fixed_batch_larger_than_the_data_is_filled_by_repeats():
    samples = bind(raw(x=X), signature(x=("float32", 16, 3)), None)
    assert next(samples.calls(range(12)))["x"].shape == (16, 3)


def test_states_and_scalars_stand_beside_batched_inputs():
    wanted = signature(
        x=("float32", "batch", 3), state=("float32", 2, 1, 8), t=("int64",), s=("float32", 1)
    )
    state = np.zeros((12, 2, 1, 8), np.float32)
    data = raw(x=X, state=state, t=np.arange(12), s=np.ones(12, np.float32))
    samples = bind(data, wanted, None)
    assert samples.has_batch_axis
    shapes = {name: array.shape for name, array in samples.feed([3]).items()}
    assert shapes == {"x": (1, 3), "state": (2, 1, 8), "t": (), "s": (1,)}


def test_vectors_for_a_rank_one_batch():
    samples = bind(raw(ids=np.arange(12)), signature(ids=("int64", "batch")), None)
    assert samples.feed([5])["ids"].tolist() == [5]


def test_an_unknown_rank_gets_slices():
    assert bind(raw(x=X), signature(x=("float32", ...)), None).feed([1])["x"].shape == (1, 3)


def test_one_unnamed_array_binds_to_the_only_input():
    assert bind(bare(X), signature(x=("float32", "n", 3)), None).feed([0])["x"].shape == (1, 3)
    with pytest.raises(DataError, match=r"\['x', 'y'\], and one array with no name"):
        bind(bare(X), signature(x=("float32", "n", 3), y=("float32", "n", 3)), None)


def test_widths_are_cast_once():
    samples = bind(raw(x=X.astype(np.float64)), signature(x=("float32", "n", 3)), None)
    first, again = samples.feed([0])["x"], samples.feed([0])["x"]
    assert first.dtype == np.float32
    assert np.shares_memory(first, again)


@pytest.mark.parametrize(
    ("data", "wanted", "told"),
    [
        (raw(x=X, z=X), {"x": ("float32", "n", 3)}, r"unknown: \['z'\]"),
        (raw(z=X), {"x": ("float32", "n", 3)}, r"missing: \['x'\]"),
        (raw(x=X), {"x": ("float32", "n", 4)}, r"axis 1 wants 4, and \(1, 3\) came"),
        (raw(x=X), {"x": ("float32", "n", 3, 8, 8)}, r"4 or 5 axes|with 4 or 5|and \(12, 3\) came"),
        (raw(x=X), {"x": ("int64", "n", 3)}, "wants int64, and float32 came"),
        (raw(x=X.astype(np.uint8)), {"x": ("float32", "n", 3)}, "wants float32, and uint8 came"),
        (raw(x=np.full((12, 3), 300)), {"x": ("uint8", "n", 3)}, "out of it"),
        (raw(x=X * 1e30, y=X), {"x": ("float16", "n", 3), "y": ("float32", "n", 3)}, "infinite"),
        (raw(x=X, y=X[:, :2]), {"x": ("float32", "n", "k"), "y": ("float32", "n", "k")}, "share"),
        (raw(x=X, y=X), {"x": ("float32", 4, 3), "y": ("float32", 2, 3)}, "disagree"),
        (raw(x=X, t=X), {"x": ("float32", 4, 3), "t": ("float32", 3)}, "4 samples at once"),
    ],
)
def test_what_does_not_fit_is_told(data, wanted, told):
    with pytest.raises(DataError, match=told):
        bind(data, signature(**wanted), None)


def test_a_network_with_no_inputs_is_refused():
    with pytest.raises(DataError, match="takes no inputs"):
        bind(raw(x=X), signature(), None)


def test_an_input_called_labels_is_fed():
    wanted = signature(x=("float32", "n", 3), labels=("int64", "n"))
    samples = bind(raw(np.arange(12), x=X), wanted, None)
    assert samples.labels is None
    assert samples.feed([7])["labels"].tolist() == [7]


def test_bfloat16_survives_an_npz(tmp_path):
    np.savez(tmp_path / "v.npz", x=X.astype(ml_dtypes.bfloat16))
    stored = np.load(tmp_path / "v.npz")["x"]
    samples = bind(raw(x=stored), signature(x=("bfloat16", "n", 3)), None)
    np.testing.assert_array_equal(samples.feed([2])["x"].astype(np.float32), X[2:3])
    stored.view(ml_dtypes.bfloat16)[5] = np.nan
    with pytest.raises(DataError, match="NaN in sample 5"):
        bind(raw(x=stored), signature(x=("bfloat16", "n", 3)), None)


@pytest.mark.parametrize("rank", [1, 2])
def test_texts_feed_a_network_that_takes_texts(rank):
    wanted = signature(t=("str", "n", 1)[: 1 + rank])
    samples = bind(RawData(name="data", items=[f"t{i}" for i in range(12)]), wanted, None)
    fed = samples.feed([3])["t"]
    assert fed.shape == (1,) * rank
    assert fed.reshape(-1).tolist() == ["t3"]


def test_byte_strings_become_texts():
    samples = bind(raw(t=np.asarray([b"caf\xc3\xa9"] * 10)), signature(t=("str", "n")), None)
    assert samples.feed([0])["t"].tolist() == ["café"]


def test_items_with_nothing_to_process_them_are_refused():
    items = RawData(name="v.csv", items=["a"] * 10)
    with pytest.raises(DataError, match=r"v.csv holds texts or images.*\['x'\]"):
        bind(items, signature(x=("float32", "n", 3)), None)


def test_named_labels_become_numbers_unless_the_network_answers_in_text():
    labels = np.asarray(["b", "a"] * 6)
    wanted = signature(x=("float32", "n", 3))
    assert bind(raw(labels, x=X), wanted, None).labels.tolist() == [1, 0] * 6
    text = TensorSpec(name="label", dtype="str", shape=("n",))
    answers = signature((text,), x=("float32", "n", 3))
    assert bind(raw(labels, x=X), answers, None).labels.tolist() == ["b", "a"] * 6


def images(*labels):
    return ImageClassification(settings=ImageSettings(labels=labels, resize="none"))


IMAGE = signature(pixel_values=("float32", "n", 3, 8, 8))


def test_images_in_one_array_go_through_the_processing():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    samples = bind(bare(pixels), IMAGE, images("a", "b"))
    fed = samples.feed([6])["pixel_values"]
    np.testing.assert_allclose(fed[0], pixels[6].transpose(2, 0, 1) / 255, rtol=1e-5)


def test_arrays_that_are_inputs_already_pass_the_processing_by():
    ready = np.random.default_rng(0).random((10, 3, 8, 8), dtype=np.float32)
    samples = bind(bare(ready), IMAGE, images("a", "b"))
    assert np.shares_memory(samples.feed([6])["pixel_values"], ready)


def test_labels_are_the_positions_of_the_models_names():
    pixels = np.zeros((10, 8, 8, 3), np.uint8)
    data = RawData(name="data", items=list(pixels), labels=np.asarray(["cat", "dog"] * 5))
    assert bind(data, IMAGE, images("dog", "cat")).labels.tolist() == [1, 0] * 5
    with pytest.raises(DataError, match=r"\['dog'\] are none of the model's classes"):
        bind(data, IMAGE, images("cat", "ant"))


def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path):
    (tmp_path / "note.jpg").write_text("not an image")
    data = RawData(name="data", items=[tmp_path / "note.jpg"] * 10)
    with pytest.raises(DataError, match=r"note\.jpg"):
        bind(data, IMAGE, images("a", "b"))
