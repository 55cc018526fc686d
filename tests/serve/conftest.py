"""Small real networks behind a real socket."""

import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from lepton_ai.bundle.load import load
from lepton_ai.bundle.net import Net
from lepton_ai.bundle.pack import BundleContents, pack
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.model.image import ImageClassification, ImageSettings
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Arrays, Signature, TensorSpec
from lepton_ai.model.text import TextClassification, TextSettings
from lepton_ai.serve.server import running

ONNX_TYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "bfloat16": TensorProto.BFLOAT16,
    "str": TensorProto.STRING,
}


def save(graph: onnx.GraphProto, path: Path) -> Path:
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def bundle_of(
    artifact: Path, signature: Signature, feed: Arrays, engine: str = "onnxruntime", **more: Any
) -> Path:
    """A bundle beside ``artifact``, named after it, with one golden call."""
    plan = EnginePlan(threads=1)
    answer = engines.get(engine)().load(artifact, plan).run(feed)
    contents = BundleContents(
        artifact=artifact,
        name=artifact.stem,
        signature=signature,
        engine=engine,
        plan=plan,
        golden=[(feed, answer)],
        **more,
    )
    return pack(contents, artifact.with_suffix(".lepton"))


def echo_bundle(folder: Path, dtypes: list[str], engine: str) -> Path:
    """A network that gives back each input; ``in_<dtype>`` as ``out_<dtype>``."""
    nodes, inputs, outputs, feed = [], [], [], {}
    for dtype in dtypes:
        nodes.append(helper.make_node("Identity", [f"in_{dtype}"], [f"out_{dtype}"]))
        kind = ONNX_TYPES[dtype]
        inputs.append(helper.make_tensor_value_info(f"in_{dtype}", kind, [f"n_{dtype}", 2]))
        outputs.append(helper.make_tensor_value_info(f"out_{dtype}", kind, [f"n_{dtype}", 2]))
        numpy_name = {"str": object, "bfloat16": ml_dtypes.bfloat16}.get(dtype, dtype)
        feed[f"in_{dtype}"] = np.ones((1, 2)).astype(numpy_name)
        if dtype == "str":
            feed["in_str"] = np.array([["a", "b"]], dtype=object)
    artifact = save(
        helper.make_graph(nodes, "echo", inputs, outputs), folder / f"echo_{engine}.onnx"
    )
    signature = Signature(
        inputs=tuple(TensorSpec(name=f"in_{d}", dtype=d, shape=(f"n_{d}", 2)) for d in dtypes),
        outputs=tuple(TensorSpec(name=f"out_{d}", dtype=d, shape=(f"n_{d}", 2)) for d in dtypes),
    )
    return bundle_of(artifact, signature, feed, engine)


def sqrt_bundle(folder: Path) -> Path:
    """y = sqrt(x): NaN for negative numbers, infinite for infinity."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Sqrt", ["x"], ["y"])],
        "sqrt",
        [info("x", TensorProto.FLOAT, ["n"])],
        [info("y", TensorProto.FLOAT, ["n"])],
    )
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=("n",)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("n",)),),
    )
    feed = {"x": np.array([4.0], dtype=np.float32)}
    return bundle_of(save(graph, folder / "sqrt.onnx"), signature, feed)


def words_bundle(folder: Path) -> Path:
    """Counts of three words, as scores of three labels; a real tokenizer before it."""
    words = {"[PAD]": 0, "[UNK]": 1, "bad": 2, "fine": 3, "good": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    settings = TextSettings(max_length=8, labels=("bad", "fine", "good"), inputs=("input_ids",))
    table = np.zeros((5, 3), dtype=np.float32)
    table[2:] = 4 * np.eye(3)
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
    signature = Signature(
        inputs=(TensorSpec(name="input_ids", dtype="int64", shape=("batch", "tokens")),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
    )
    processing: Processing = TextClassification(
        tokenizer=tokenizer.to_str().encode(), settings=settings
    )
    artifact = save(graph, folder / "words.onnx")
    return bundle_of(artifact, signature, processing.feed(["good day"]), processing=processing)


def colours_bundle(folder: Path) -> Path:
    """The mean of each channel of an image, as scores of three colours."""
    shape = ["batch", 3, 8, 8]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    signature = Signature(
        inputs=(TensorSpec(name="pixel_values", dtype="float32", shape=("batch", 3, 8, 8)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
    )
    processing = ImageClassification(
        settings=ImageSettings(labels=("red", "green", "blue"), size=(8, 8))
    )
    feed = processing.feed([np.zeros((8, 8, 3), dtype=np.uint8)])
    artifact = save(graph, folder / "colours.onnx")
    return bundle_of(artifact, signature, feed, processing=processing)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    in_runtime = [dtype for dtype in ONNX_TYPES if dtype != "bfloat16"]
    return {
        "echo": echo_bundle(folder, in_runtime, "onnxruntime"),
        # ONNX Runtime's Python interface takes no bfloat16; the reference engine does.
        "bf16": echo_bundle(folder, ["bfloat16"], "reference"),
        "sqrt": sqrt_bundle(folder),
        "words": words_bundle(folder),
        "colours": colours_bundle(folder),
    }


@pytest.fixture(scope="session")
def nets(bundles) -> dict[str, Net]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {name: load(path) for name, path in bundles.items()}


@pytest.fixture(scope="session")
def address(nets):
    with running(*nets.values(), body_limit=200_000) as address:
        yield address
