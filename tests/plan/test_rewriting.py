"""A graph's file rewritten under proof, and the rewrites that would find something to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from lepton_ai.errors import ModelError
from lepton_ai.plan.rewriting import rewrite_file, would_fire

CALLS = [{"x": np.float32([-1, 0, 2])}, {"x": np.float32([3])}]


def written(path: Path, body: str) -> Path:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y)'
    onnx.save(parser.parse_model(f"{head} {{ {body} }}"), path)
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_what_was_done_is_told_and_written(tmp_path: Path) -> None:
    source = written(tmp_path / "net.onnx", "a = Identity (x) y = Relu (a)")
    done = rewrite_file("standard", source, tmp_path / "o.onnx", original=source, calls=CALLS)
    assert [firing.rule for firing in done.fired] == ["drop-no-ops"]
    assert operators(tmp_path / "o.onnx") == ["Relu"]


def test_a_source_that_answers_otherwise_than_the_original_is_refused(tmp_path: Path) -> None:
    original = written(tmp_path / "net.onnx", "y = Relu (x)")
    source = written(tmp_path / "other.onnx", "y = Abs (x)")
    with pytest.raises(ModelError, match=r"other\.onnx does not answer as the original does"):
        rewrite_file("standard", source, tmp_path / "o.onnx", original=original, calls=CALLS)
    assert not (tmp_path / "o.onnx").exists()


def test_of_the_rewrites_those_that_would_fire_are_named(tmp_path: Path) -> None:
    source = written(tmp_path / "net.onnx", "a = Sigmoid (x) y = Mul (x, a)")
    before = source.read_bytes()
    assert would_fire(str(source), "onnxruntime") == ["swish"]
    assert would_fire(str(source), "openvino") == []
    assert source.read_bytes() == before
