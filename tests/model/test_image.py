"""Images to arrays, against hand-made numbers and against the processors of transformers."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lepton_ai.errors import DataError, ModelError
from lepton_ai.model.image import ImageClassification, ImageSettings
from lepton_ai.model.processing import processings


def classifier(**changes):
    settings = {"labels": ("cat", "dog"), "resize": "none", "scale": 1.0, **changes}
    return ImageClassification(settings=ImageSettings(**settings))


def pixels(image, **changes):
    return classifier(layout="NHWC", **changes).feed([image])["pixel_values"][0]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo():
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg")


def test_scale_offset_mean_and_std_in_this_order():
    image = np.full((2, 2, 3), 100, np.uint8)
    row = pixels(image, scale=0.02, offset=-1.0, mean=(0.5, 0.0, 1.0), std=(0.5, 1.0, 2.0))
    assert row[0, 0] == pytest.approx([1.0, 1.0, 0.0])
    assert row.dtype == np.float32


def test_layouts():
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 1] = 7
    first = classifier().feed([image])["pixel_values"]
    assert first.shape == (1, 3, 4, 6)
    assert (first[0, 1] == 7).all()
    last = classifier(layout="NHWC").feed([image, image])["pixel_values"]
    assert last.shape == (2, 4, 6, 3)


def test_reverse_channels():
    assert pixels(np.array([[[1, 2, 3]]], np.uint8), reverse_channels=True)[0, 0].tolist() == [
        3,
        2,
        1,
    ]


def test_every_way_to_hand_an_image_in_gives_the_same(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    path = tmp_path / "image.png"
    image.save(path)
    ways = [array, array.transpose(2, 0, 1), array / 255, (array / 255).astype(np.float32)]
    ways += [image, path, str(path), path.read_bytes(), bytearray(path.read_bytes())]
    for way in ways:
        assert (pixels(way) == array).all()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (1, 4, 5)])
def test_grey_becomes_three_equal_channels(shape):
    assert (pixels(np.full(shape, 9, np.uint8)) == 9).all()


def test_grey_network_takes_colour():
    row = pixels(np.full((2, 2, 3), 50, np.uint8), mean=(0.0,), std=(1.0,))
    assert row.shape == (2, 2, 1)
    assert (row == 50).all()


def test_alpha_is_dropped_and_palettes_are_looked_up():
    colours = np.full((2, 2, 4), (10, 20, 30, 40), np.uint8)
    assert pixels(colours)[0, 0].tolist() == [10, 20, 30]
    palette = Image.fromarray(colours[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixels(encoded(palette, "GIF"))[0, 0].tolist() == [10, 20, 30]


def test_sixteen_bit_grey_is_scaled_not_clipped():
    deep = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    assert (pixels(encoded(deep)) == 0x80).all()


def test_exif_orientation_is_followed():
    image = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    assert pixels(encoded(image, "JPEG", exif=exif)).shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("size", "shape"), [((8, 12), (4, 6)), ((12, 8), (6, 4)), ((9, 9), (4, 4))]
)
def test_shortest_edge_keeps_the_aspect(size, shape):
    row = pixels(np.zeros((*size, 3), np.uint8), resize="shortest-edge", size=(4, 4))
    assert row.shape[:2] == shape


@pytest.mark.parametrize(("have", "want"), [((5, 6), (2, 3)), ((3, 3), (6, 2)), ((3, 3), (4, 7))])
def test_crop_takes_the_middle_and_fills_with_black(have, want):
    row = pixels(np.ones((*have, 3), np.uint8), crop=want)
    assert row.shape[:2] == want
    assert row[..., 0].sum() == min(have[0], want[0]) * min(have[1], want[1])


PROCESSORS = {
    "vit": ({"size": {"height": 64, "width": 48}}, {"size": (64, 48)}),
    "clip": (
        {"size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64}},
        {"resize": "shortest-edge", "size": (80, 80), "crop": (64, 64), "resample": 3},
    ),
    "convnext": (
        {"size": {"shortest_edge": 56}, "crop_pct": 0.875},
        {"resize": "shortest-edge", "size": (64, 64), "crop": (56, 56), "resample": 3},
    ),
}


@pytest.mark.parametrize("family", PROCESSORS)
def test_same_as_transformers_on_a_photo(family, photo):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    kinds = {
        "vit": ViTImageProcessorPil,
        "clip": CLIPImageProcessorPil,
        "convnext": ConvNextImageProcessorPil,
    }
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    theirs, ours = PROCESSORS[family]
    processor = kinds[family](**theirs, image_mean=mean, image_std=std)
    for view in (photo, photo[:, :301]):
        image = Image.fromarray(view)
        wanted = processor(image, return_tensors="np")["pixel_values"]
        chosen = classifier(**{"resize": "exact", "scale": 1 / 255, **ours}, mean=mean, std=std)
        came = chosen.feed([image])["pixel_values"]
        assert came.shape == wanted.shape
        assert np.abs(came - wanted).max() < 1e-5


def bomb():
    """A PNG of a few bytes that claims to be 60,000 pixels square."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b""))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def wide():
    """A PNG whose size is above our limit and below that at which Pillow itself refuses."""
    return encoded(Image.new("1", (10_000, 9_500)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"not an image", "sample 0 is no image"),
        (b"", "sample 0 is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "sample 0 is no image"),
        ("/nowhere/at/all.png", r"sample 0 \(/nowhere/at/all.png\) is missing"),
        ("a\0b", "sample 0"),
        ("/", r"sample 0 \(/\) is no image"),
        (17, "a int came"),
        (None, "a NoneType came"),
        (np.zeros((3, 4, 5, 3), np.uint8), r"shape \(3, 4, 5, 3\) came"),
        (np.zeros((5, 5, 7), np.uint8), r"shape \(5, 5, 7\) came"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\) came"),
        (np.full((2, 2, 3), 255.0), "floats should lie from 0 to 1"),
        (np.full((2, 2, 3), np.nan), "floats should lie from 0 to 1"),
        (np.zeros((2, 2, 3), np.int64), "int64 came"),
        (bomb(), "pixels"),
        (wide(), "pixels"),
    ],
)
def test_what_is_no_image_is_named(raw, complaint):
    with pytest.raises(DataError, match=complaint):
        classifier().feed([raw])


def test_a_truncated_file_is_named_with_its_place(tmp_path, photo):
    path = tmp_path / "half.jpg"
    whole = encoded(Image.fromarray(photo), "JPEG")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"sample 1 \(.*half.jpg\) is no image"):
        classifier().feed([photo, path])


def test_sizes_of_one_batch_must_agree():
    with pytest.raises(DataError, match="one size"):
        classifier().feed([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)])


def test_no_image_at_all():
    with pytest.raises(DataError, match="at least one"):
        classifier().feed([])


@pytest.mark.parametrize(
    "changes",
    [
        {"resize": "longest-edge"},
        {"layout": "CHW"},
        {"mean": (0.0, 0.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"crop": (0, 4)},
        {"answer": "maybe"},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ModelError):
        classifier(**changes)


def test_present():
    answers = classifier().present({"logits": np.array([[0.0, 5.0]], np.float32)})
    assert answers[0]["label"] == "dog"
    assert sum(answers[0]["scores"].values()) == pytest.approx(1)


def test_rebuilt_from_json_it_feeds_the_same(photo):
    chosen = classifier(resize="shortest-edge", size=(40, 40), crop=(32, 32), std=(2.0, 3.0, 4.0))
    settings = json.loads(json.dumps(chosen.settings()))
    again = processings.get(chosen.kind).rebuild(settings, chosen.files())
    assert again.settings() == chosen.settings()
    assert again.label_names == ("cat", "dog")
    wanted = chosen.feed([photo])["pixel_values"]
    assert (again.feed([photo])["pixel_values"] == wanted).all()
