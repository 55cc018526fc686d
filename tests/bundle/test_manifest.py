import json

import pytest

from lepton_ai.bundle.manifest import Manifest, check_file_name, digest_of, finite, plain_text
from lepton_ai.bundle.verify import read_manifest
from lepton_ai.errors import BundleError, TamperedError


def edited(bundle, **changes) -> bytes:
    """The text of a manifest with some fields changed and the digest made right again."""
    content = json.loads((bundle / "manifest.json").read_text())
    content.pop("digest")
    content.update(changes)
    return plain_text({**content, "digest": digest_of(content)}).encode()


def test_text_and_parse_are_inverse(bundle):
    manifest = read_manifest(bundle)
    assert Manifest.parse(manifest.to_text().encode()) == manifest


def test_any_changed_byte_is_noticed(bundle):
    text = (bundle / "manifest.json").read_bytes()
    for position in range(0, len(text), 7):
        changed = bytearray(text)
        changed[position] ^= 1
        with pytest.raises(BundleError):
            Manifest.parse(bytes(changed))


def test_an_added_space_is_noticed(bundle):
    text = (bundle / "manifest.json").read_bytes()
    with pytest.raises(TamperedError, match=r"manifest\.json was changed"):
        Manifest.parse(text.replace(b'"name":', b'"name": ', 1))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_invalid_json_is_said_to_be(text):
    with pytest.raises(BundleError, match="not valid JSON"):
        Manifest.parse(text)


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"format": "other"}', b"null"])
def test_another_json_file_is_no_manifest(text):
    with pytest.raises(BundleError, match="not the manifest of a Lepton bundle"):
        Manifest.parse(text)


def test_a_newer_schema_says_to_upgrade(bundle):
    with pytest.raises(BundleError, match=r"schema version 99.*upgrade"):
        Manifest.parse(edited(bundle, schema_version=99))


@pytest.mark.parametrize("field", ["files", "signature", "plan"])
def test_a_field_of_the_wrong_kind_is_refused(bundle, field):
    with pytest.raises(BundleError, match="misstates"):
        Manifest.parse(edited(bundle, **{field: ["no"]}))


def test_an_unknown_field_is_refused(bundle):
    with pytest.raises(BundleError, match="misstates"):
        Manifest.parse(edited(bundle, surprise=1))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a\\..\\x",
        "",
        ".",
        "a//b",
        "./a",
        "manifest.json",
        "a\0",
    ],
)
def test_a_path_out_of_the_bundle_is_refused(bundle, name):
    with pytest.raises(BundleError, match="not a plain path inside the bundle"):
        check_file_name(name)
    entry = {"sha256": "0" * 64, "size": 1}
    with pytest.raises(BundleError, match="not a plain path inside the bundle"):
        Manifest.parse(edited(bundle, files={name: entry}))


def test_finite_leaves_no_nan_and_no_tuple():
    record = {"a": (1.0, float("nan")), 2: [float("inf")]}
    assert finite(record) == {"a": [1.0, None], "2": [None]}
