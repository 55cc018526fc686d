"""A quantised graph with some of its nodes in floating point again."""

import tempfile
from collections.abc import Collection
from pathlib import Path

import onnx

from lepton_ai.compress.graph_file import prepare, publish
from lepton_ai.compress.rounded import Rounded
from lepton_ai.formats.quiet import quiet


def put_back(source: Path, quantised: Path, target: Path, nodes: Collection[str]) -> None:
    """Write ``quantised``, which was made of ``source``, to ``target`` with ``nodes`` as they were.

    The nodes are named as :func:`~lepton_ai.compress.sensitivity.sensitivity` names them. Nothing
    is calibrated anew: what the others read stays rounded as it was.

    Raises:
        ModelError: a graph cannot be read, or a node reads nothing that is rounded.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-put-back-") as folder, quiet():
        plain = onnx.load(prepare(source, Path(folder)))
        done = Path(folder) / "done.onnx"
        onnx.save(Rounded(plain, onnx.load(quantised)).without(nodes), done)
        publish(done, target)
