import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ai.bundle.pack import BundleContents, pack
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.model.signature import Signature, TensorSpec
from lepton_ai.plan.recipe import Recipe

LEPTON = "from lepton_ai.cli import main; main()"


def lepton(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", LEPTON, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200"},
    )


def measured(p50: float, count: int, score: float) -> dict[str, Any]:
    return {"latency": {"p50_ms": p50}, "bytes_on_disk": count, "score": score, "drop": 0.0}


BASELINE, BEST = measured(22.0, 90_000_000, 0.8), measured(4.0, 23_000_000, 0.79)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    record = {
        "schema": 1,
        "name": "net [bold]\x1b[31m",
        "status": "MISSED",
        "why": "max_latency_ms 1: the closest takes 4",
        "metric": {"name": "accuracy"},
        "baseline": {"name": "before", "measurement": BASELINE},
        "best": {"name": "int8 · onnxruntime", "measurement": BEST},
        "tried": [],
        "certificate": None,
    }
    path = tmp_path / "search.json"
    path.write_text(json.dumps(record))
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    artifact = tmp_path / "net.onnx"
    artifact.write_bytes(b"not run by this test")
    spec = TensorSpec(name="x", dtype="float32", shape=(1,))
    call = {"x": np.zeros(1, dtype=np.float32)}
    plan = EnginePlan(threads=2)
    contents = BundleContents(
        artifact=artifact,
        name="net",
        signature=Signature(inputs=(spec,), outputs=(spec,)),
        engine="onnxruntime",
        plan=plan,
        golden=[(call, call)],
        machine={"cpu": "A CPU", "isa": ["avx2"], "engines": {"onnxruntime": "1.32.0"}},
        recipe=Recipe(engine="onnxruntime", plan=plan, compressor="int8-dynamic").to_json(),
        measurements={"baseline": BASELINE, "best": BEST},
        metric={"name": "accuracy"},
        certificate={"claim": "Accuracy drops by at most 0.4 points.", "bound": 0.004},
        report_html="<p>the page</p>",
    )
    return pack(contents, tmp_path / "net.lepton")


def test_a_saved_record_is_told_and_its_page_written_beside_it(saved: Path) -> None:
    done = lepton("report", saved)
    assert done.returncode == 0, done.stderr
    assert "MISSED" in done.stdout
    assert "5.50× as fast" in done.stdout
    assert "max_latency_ms 1" in done.stdout
    assert "net [bold]�[31m" in done.stdout
    page = saved.with_suffix(".html")
    assert f"Report: {page}" in done.stdout
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert sorted(p.name for p in saved.parent.iterdir()) == ["search.html", "search.json"]


def test_an_existing_page_is_kept_unless_told_otherwise(saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    refused = lepton("report", saved, "-o", page)
    assert refused.returncode == 2
    assert "exists" in refused.stderr
    assert page.read_text() == "mine"
    assert lepton("report", saved, "-o", page, "--overwrite").returncode == 0
    assert "<!DOCTYPE html>" in page.read_text()


def test_a_bundle_shows_its_own_page(bundle: Path) -> None:
    done = lepton("report", bundle)
    assert done.returncode == 0, done.stderr
    assert "net: MET" in done.stdout
    assert "int8-dynamic · onnxruntime · 2 threads" in done.stdout
    assert "Accuracy drops by at most 0.4 points." in done.stdout
    assert f"Report: {bundle / 'report.html'}" in done.stdout


def test_a_bundles_page_can_be_copied_out_but_not_in(bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "copy.html"
    assert lepton("report", bundle, "-o", page).returncode == 0
    assert page.read_text() == "<p>the page</p>"
    refused = lepton("report", bundle, "-o", bundle / "again.html")
    assert refused.returncode == 2
    assert not (bundle / "again.html").exists()


def test_a_changed_bundle_is_refused(bundle: Path) -> None:
    (bundle / "report.html").write_text("<p>a better page</p>")
    done = lepton("report", bundle)
    assert done.returncode == 2
    assert "report.html" in done.stderr


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, "nothing is at"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\x00\xff", "is not JSON"),
        ("[1, 2]", "holds other JSON"),
        ('{"a": 1}', "holds other JSON"),
        ('{"schema": 99, "status": "MET", "tried": []}', "schema 99"),
    ],
)
def test_what_is_not_a_record_is_refused_in_a_sentence(
    tmp_path: Path, content: str | None, wanted: str
) -> None:
    source = tmp_path / "in.json"
    if content is not None:
        source.write_text(content)
    done = lepton("report", source)
    assert done.returncode == 2
    assert wanted in done.stderr
    assert done.stderr.startswith("lepton: ")
    assert done.stderr.count("\n") == 1
    assert not source.with_suffix(".html").exists()


def test_a_folder_that_does_not_exist_for_the_page_is_said(saved: Path, tmp_path: Path) -> None:
    done = lepton("report", saved, "-o", tmp_path / "no" / "page.html")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
