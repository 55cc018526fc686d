import dataclasses
import subprocess
import sys
import warnings

import numpy as np
import pytest

from lepton_ai.bundle.load import load
from lepton_ai.bundle.pack import pack
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.engines.processor import usable_cores
from lepton_ai.errors import BundleError, DataError, TamperedError
from lepton_ai.measure.machine import fingerprint
from lepton_ai.model.text import TextClassification

X = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "reference"])
def test_what_was_packed_answers_the_same(contents, tmp_path, engine, artifact):
    wanted = engines.get(engine)().load(artifact, EnginePlan(threads=1)).run({"x": X})["logits"]
    with load(pack(contents(engine), tmp_path / "b")) as net:
        assert net.engine == engine
        assert net.name == "toy"
        assert net.notes == ()
        assert net.replay.calls == 3
        assert net.replay.matches
        np.testing.assert_allclose(net.run({"x": X})["logits"], wanted, rtol=1e-6)


def test_inputs_are_checked(bundle):
    with load(bundle) as net:
        with pytest.raises(DataError, match="'x'"):
            net.run({"y": X})
        with pytest.raises(DataError, match="axis 1 wants 4"):
            net.run({"x": X[:, :3]})
        assert net.run({"x": X.astype(np.float64)})["logits"].dtype == np.float32


def test_a_closed_network_says_so(bundle):
    net = load(bundle)
    net.close()
    net.close()
    with pytest.raises(BundleError, match="was closed"):
        net.run({"x": X})


def test_a_network_of_arrays_does_not_predict(bundle):
    with load(bundle) as net, pytest.raises(BundleError, match="takes arrays"):
        net.predict(["text"])


def test_threads_are_as_measured_or_as_asked(contents, tmp_path):
    elsewhere = EnginePlan(threads=usable_cores() + 2)  # measured where there are more
    path = pack(dataclasses.replace(contents(), plan=elsewhere), tmp_path / "b")
    assert load(path).plan.threads == usable_cores()
    assert load(path, threads=1).plan.threads == 1
    for threads in (0, usable_cores() + 1, 100_000):
        with pytest.raises(BundleError, match="threads wants 1 to"):
            load(path, threads=threads)


def test_a_tampered_bundle_is_refused(bundle):
    with (bundle / "artifact" / "model.onnx").open("r+b") as stream:
        stream.seek(20)
        stream.write(b"!")
    with pytest.raises(TamperedError, match=r"artifact/model\.onnx"):
        load(bundle)


def test_an_unknown_engine_falls_back_and_says_so(contents, tmp_path):
    path = pack(dataclasses.replace(contents(), engine="warp-drive"), tmp_path / "b")
    with pytest.warns(UserWarning, match="not as it was measured.*warp-drive"):
        net = load(path)
    assert net.engine == "onnxruntime"
    assert "warp-drive" in net.notes[0]
    assert net.run({"x": X})["logits"].shape == (1, 3)


def test_a_precision_that_is_missing_here_falls_back(contents, tmp_path):
    low = EnginePlan(threads=1, precision="bf16")
    path = pack(dataclasses.replace(contents(), plan=low), tmp_path / "b")
    with pytest.warns(UserWarning, match="does not compute in bf16"):
        net = load(path)
    assert net.plan == EnginePlan(threads=1)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_wrong_answers_are_refused(contents, tmp_path, engine):
    whole = contents(engine)
    wrong = [(feed, {"logits": answer["logits"] * 1.1}) for feed, answer in whole.golden]
    path = pack(dataclasses.replace(whole, golden=wrong), tmp_path / "b")
    with pytest.raises(BundleError, match=r"no engine here answers as toy did.*differs by 0\.09"):
        load(path)
    assert load(path, replay=False).replay is None


def test_an_engine_that_answers_wrongly_gives_way(contents, tmp_path, monkeypatch):
    from lepton_ai.engines.openvino import OpenVino

    path = pack(contents("openvino"), tmp_path / "b")
    right = OpenVino.load

    class Skewed:
        def __init__(self, executable):
            self.executable = executable

        def run(self, inputs):
            return {k: v * 1.1 for k, v in self.executable.run(inputs).items()}

        def close(self):
            self.executable.close()

    monkeypatch.setattr(OpenVino, "load", lambda *given: Skewed(right(*given)))
    with pytest.warns(UserWarning, match="openvino in fp32: output 'logits'"):
        net = load(path)
    assert net.engine == "onnxruntime"


def test_instructions_that_are_missing_here_are_noted(contents, tmp_path):
    elsewhere = {**fingerprint().to_json(), "isa": ["warp512"]}
    path = pack(contents(machine=elsewhere), tmp_path / "b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it runs as measured: a note, not a warning
        assert "warp512, which this machine lacks" in load(path).notes[0]


def test_a_processing_that_is_unknown_or_broken_is_said_to_be(contents, tmp_path, text_bundle):
    import json

    from lepton_ai.bundle.manifest import digest_of, plain_text

    manifest = text_bundle / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["digest"], content["processing"]["settings"]["labels"]
    manifest.write_text(plain_text({**content, "digest": digest_of(content)}))
    with pytest.raises(BundleError, match="text-classification processing cannot be rebuilt"):
        load(text_bundle)


def test_texts_are_answered_one_by_one(text_bundle):
    with load(text_bundle) as net:
        assert isinstance(net.processing, TextClassification)
        alone = net.predict(["good"])
        assert alone[0]["label"] in {"bad", "fine", "good"}
        assert net.predict(["bad day", "good"])[1] == alone[0]
        with pytest.raises(DataError, match="sample 2"):
            net.predict(["good", "bad", ""])


def test_loading_and_running_needs_the_base_install_alone(text_bundle):
    """A fresh process in which the heavy libraries cannot be imported."""
    code = f"""
import sys
for name in ("torch", "onnx", "onnx_ir", "onnxscript", "nncf", "transformers", "pandas", "scipy"):
    sys.modules[name] = None
from lepton_ai.bundle.load import load
with load({str(text_bundle)!r}) as net:
    print(net.predict(["good"])[0]["label"])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() in {"bad", "fine", "good"}
