from dataclasses import dataclass

from lepton_ai.model.model import Model
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Signature


@dataclass
class Words(Processing):
    tokenizer: bytes

    def feed(self, raws):
        return {}

    def present(self, outputs):
        return []

    def settings(self):
        return {"longest": 8}

    def files(self):
        return {"tokenizer.json": self.tokenizer}

    @classmethod
    def rebuild(cls, settings, files):
        return cls(files["tokenizer.json"])


def key(folder, *, graph=b"graph", weights=None, processing=None) -> str:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph)
    if weights is not None:
        (folder / "model.onnx.data").write_bytes(weights)
    signature = Signature(inputs=(), outputs=())
    model = Model(name="m", path=folder / "model.onnx", signature=signature, processing=processing)
    return model.content_key()


def test_the_content_key_follows_graph_weights_and_processing(tmp_path):
    different = [
        key(tmp_path / "a"),
        key(tmp_path / "b", graph=b"another"),
        key(tmp_path / "c", weights=b"1"),
        key(tmp_path / "d", weights=b"2"),
        key(tmp_path / "e", processing=Words(b"one")),
        key(tmp_path / "f", processing=Words(b"two")),
    ]
    assert len(set(different)) == len(different)


def test_the_content_key_does_not_follow_the_place(tmp_path):
    assert key(tmp_path / "a", weights=b"1") == key(tmp_path / "b", weights=b"1")
