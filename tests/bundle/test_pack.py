import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lepton_ai.bundle.pack import check_target, pack
from lepton_ai.bundle.verify import verify_files
from lepton_ai.errors import BundleError, OutputError


def test_a_bundle_holds_what_it_promises(contents, tmp_path):
    record = {"best": {"latency": {"p50_ms": 1.5, "p99_ms": float("nan")}}}
    path = pack(contents(measurements=record, status="MISSED"), tmp_path / "b.lepton")
    names = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert names == {
        "artifact/model.onnx",
        "certificate.json",
        "golden/inputs.npz",
        "golden/outputs.npz",
        "manifest.json",
        "report.html",
    }
    manifest = verify_files(path)
    assert manifest.status == "MISSED"
    assert manifest.measurements == {"best": {"latency": {"p50_ms": 1.5, "p99_ms": None}}}
    assert manifest.isa["flags"] == manifest.machine["isa"]
    assert set(manifest.files) == names - {"manifest.json"}


def test_tolerance_follows_the_form(contents, tmp_path):
    exact = verify_files(pack(contents(), tmp_path / "a"))
    low = verify_files(pack(contents(recipe={"compressor": "int8-dynamic"}), tmp_path / "b"))
    assert exact.golden["tolerance"] < low.golden["tolerance"]


def test_weights_kept_outside_travel_along(contents, tmp_path):
    weights = tmp_path / "net.onnx.data"
    weights.write_bytes(b"\1\2\3")
    path = pack(contents(artifact_data=(weights,)), tmp_path / "b")
    assert (path / "artifact" / "net.onnx.data").read_bytes() == b"\1\2\3"
    assert "artifact/net.onnx.data" in verify_files(path).files


def test_nothing_but_the_bundle_is_left(contents, tmp_path):
    stale = tmp_path / ".b.partial"
    stale.mkdir()
    (stale / "rubbish").write_text("from a run that was killed")
    path = pack(contents(), tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert not (path / "rubbish").exists()


def test_of_several_that_write_one_path_at_once_one_wins_and_the_others_are_told(
    contents, tmp_path
):
    def attempt(number):
        try:
            pack(contents(name=f"n{number}"), tmp_path / "b")
        except OutputError as failure:
            return str(failure)
        return "written"

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(attempt, range(8)), key=len)
    assert told[0] == "written"
    assert all("exists" in sentence for sentence in told[1:])
    verify_files(tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_failure_leaves_nothing(contents, tmp_path):
    broken = dataclasses.replace(contents(), artifact=tmp_path / "absent.onnx")
    with pytest.raises(OutputError, match="cannot be written"):
        pack(broken, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_old_bundle(contents, bundle):
    before = verify_files(bundle)
    broken = dataclasses.replace(contents(), artifact=bundle / "absent.onnx")
    with pytest.raises(OutputError):
        pack(broken, bundle, overwrite=True)
    assert verify_files(bundle) == before


def test_overwrite_replaces_a_bundle(contents, bundle):
    pack(contents(name="second"), bundle, overwrite=True)
    assert verify_files(bundle).name == "second"
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_an_existing_path_is_refused_without_overwrite(contents, bundle):
    before = (bundle / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        pack(contents(name="second"), bundle)
    assert (bundle / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced(tmp_path, overwrite):
    target = tmp_path / "taken"
    target.write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        check_target(target, overwrite)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("manifest", [None, "not json", json.dumps({"format": "other"})])
def test_a_foreign_folder_is_never_replaced(tmp_path, manifest):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("precious")
    if manifest is not None:
        (target / "manifest.json").write_text(manifest)
    with pytest.raises(OutputError, match="not a Lepton bundle"):
        check_target(target, overwrite=True)


def test_a_link_is_never_replaced(bundle, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(bundle)
    with pytest.raises(OutputError):
        check_target(link, overwrite=True)


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"none does not exist"):
        check_target(tmp_path / "none" / "b")


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file is not a folder"):
        check_target(tmp_path / "file" / "b")


def test_a_parent_that_cannot_be_written_is_named():
    unwritable = Path("/proc")
    if not unwritable.is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(OutputError, match="cannot be written to"):
        check_target(unwritable / "b")


def test_check_target_leaves_nothing(tmp_path):
    check_target(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"name": " "}, {"golden": []}])
def test_a_bundle_that_promises_nothing_is_not_made(contents, tmp_path, change):
    with pytest.raises(BundleError, match="at least one golden call"):
        pack(contents(**change), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_at_the_last_moment_leaves_no_bundle_and_the_next_run_makes_one(contents, tmp_path):
    code = """
import os, pickle, signal, sys
from pathlib import Path
from lepton_ai.bundle import pack
pack._move = lambda partial, target: os.kill(os.getpid(), signal.SIGKILL)
pack.pack(pickle.load(sys.stdin.buffer), Path(sys.argv[1]))
"""
    import pickle

    target = tmp_path / "b"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(target)], input=pickle.dumps(contents())
    )
    assert ended.returncode == -9
    assert not target.exists()
    pack(contents(), target)
    verify_files(target)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
