"""Small real bundles: a classifier in fp32, packed by the code under test."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from lepton_ai.bundle.pack import BundleContents, pack
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.measure.machine import fingerprint
from lepton_ai.model.signature import Signature, TensorSpec
from lepton_ai.model.text import TextClassification, TextSettings

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory) -> Path:
    """x [batch, 4] times a matrix, as logits [batch, 3]."""
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path_factory.mktemp("artifact") / "net.onnx"
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


@pytest.fixture
def contents(artifact):
    """Builds the contents of a bundle whose golden outputs the engine itself gave."""

    def build(engine: str = "onnxruntime", **changes: Any) -> BundleContents:
        plan = changes.pop("plan", EnginePlan(threads=1))
        executable = engines.get(engine)().load(artifact, plan)
        generator = np.random.default_rng(1)
        feeds = [{"x": generator.normal(size=(n, 4)).astype(np.float32)} for n in (1, 2, 1)]
        settings: dict[str, Any] = {
            "artifact": artifact,
            "name": "toy",
            "signature": SIGNATURE,
            "engine": engine,
            "plan": plan,
            "golden": [(feed, executable.run(feed)) for feed in feeds],
            "recipe": {"compressor": None, "engine": engine, "plan": plan.to_json()},
            "certificate": {"bound": 0.0, "claim": "equal"},
            "report_html": "<!doctype html><title>toy</title>",
            "machine": fingerprint().to_json(),
        }
        return BundleContents(**{**settings, **changes})

    return build


@pytest.fixture
def bundle(contents, tmp_path) -> Path:
    return pack(contents(), tmp_path / "toy.lepton")


@pytest.fixture
def text_bundle(tmp_path) -> Path:
    """Counts of three words, as scores of three labels; a real tokenizer before it."""
    words = {"[PAD]": 0, "[UNK]": 1, "bad": 2, "fine": 3, "good": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    settings = TextSettings(max_length=8, labels=("bad", "fine", "good"), inputs=("input_ids",))
    table = np.zeros((5, 3), dtype=np.float32)
    table[2:] = np.eye(3)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
        ],
        "words",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    artifact = tmp_path / "words.onnx"
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), artifact)
    processing = TextClassification(tokenizer=tokenizer.to_str().encode(), settings=settings)
    plan = EnginePlan(threads=1)
    feed = processing.feed(["good day"])
    outputs = engines.get("onnxruntime")().load(artifact, plan).run(feed)
    contents = BundleContents(
        artifact=artifact,
        name="words",
        signature=Signature(
            inputs=(TensorSpec(name="input_ids", dtype="int64", shape=("batch", "tokens")),),
            outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
        ),
        engine="onnxruntime",
        plan=plan,
        golden=[(feed, outputs)],
        processing=processing,
    )
    return pack(contents, tmp_path / "words.lepton")
