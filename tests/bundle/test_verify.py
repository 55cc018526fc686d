import pytest

from lepton_ai.bundle.verify import read_manifest, verify_files
from lepton_ai.errors import BundleError, TamperedError


def files_of(bundle):
    return sorted(p for p in bundle.rglob("*") if p.is_file() and p.name != "manifest.json")


def test_a_whole_bundle_passes(bundle):
    assert verify_files(bundle) == read_manifest(bundle)


def test_one_changed_byte_in_any_file_is_named(bundle):
    for path in files_of(bundle):
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(TamperedError, match=path.relative_to(bundle).as_posix()):
            verify_files(bundle)
        path.write_bytes(content)
    verify_files(bundle)


def test_a_truncated_file_is_named(bundle):
    path = bundle / "artifact" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TamperedError, match=r"artifact/model\.onnx has \d+ bytes"):
        verify_files(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "report.html").unlink()
    with pytest.raises(TamperedError, match=r"report\.html is missing"):
        verify_files(bundle)


def test_an_added_file_is_named(bundle):
    (bundle / "golden" / "more.npz").write_bytes(b"")
    with pytest.raises(TamperedError, match=r"golden/more\.npz was added"):
        verify_files(bundle)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_is_refused(bundle, tmp_path, kind):
    aside = tmp_path / "aside"
    victim = bundle / ("report.html" if kind == "file" else "golden")
    victim.rename(aside)
    victim.symlink_to(aside)
    with pytest.raises(TamperedError, match=f"{victim.name} is a link"):
        verify_files(bundle)


def test_no_bundle_there(tmp_path):
    with pytest.raises(BundleError, match="nothing is at"):
        verify_files(tmp_path / "absent")
    with pytest.raises(BundleError, match=r"holds no manifest\.json"):
        verify_files(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="a file is at"):
        verify_files(tmp_path / "file")
