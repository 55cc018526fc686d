"""Hugging Face folders: tiny networks, saved and read back by the real code."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

from lepton_ai.errors import ModelError, UnsafeFileError
from lepton_ai.formats.read import read

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "very", "not"]
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
LABELS = {"id2label": {0: "bad", 1: "so-so", 2: "good"}, "num_labels": 3}


def save_tokenizer(folder):
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=20
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders") / "tiny-bert"
    torch.manual_seed(0)
    config = BertConfig(vocab_size=10, **SMALL, **LABELS)
    BertForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def read_bert(bert, tmp_path_factory):
    return read(str(bert), tmp_path_factory.mktemp("work"))


def check_same(model, raws):
    """Exported graph and module answer alike on ``raws``; the scores."""
    fed = model.signature.check(model.processing.feed(raws))
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    (came,) = session.run(["logits"], fed)
    with torch.no_grad():
        wanted = model.module(*[torch.from_numpy(array) for array in fed.values()])
    np.testing.assert_allclose(wanted.numpy(), came, rtol=1e-4, atol=1e-5)
    return came


def test_a_text_classifier(read_bert):
    assert read_bert.name == "tiny-bert"
    assert read_bert.source_format == "huggingface"
    assert [str(spec) for spec in read_bert.signature.inputs] == [
        "input_ids: int64[batch, sequence]",
        "attention_mask: int64[batch, sequence]",
    ]
    assert [str(spec) for spec in read_bert.signature.outputs] == ["logits: float32[batch, 3]"]
    assert read_bert.processing.label_names == ("bad", "so-so", "good")
    assert not read_bert.module.training


def test_a_text_classifier_takes_any_batch_and_length(read_bert):
    check_same(read_bert, ["good"])
    check_same(read_bert, ["a very very good film", "bad", "not a film"])
    longest = check_same(read_bert, ["bad " * 500])
    answer = read_bert.processing.present({"logits": longest})[0]
    assert sum(answer["scores"].values()) == pytest.approx(1)


def test_padding_does_not_change_an_answer(read_bert):
    alone = check_same(read_bert, ["good film"])
    beside = check_same(read_bert, ["good film", "a very very very bad film"])
    np.testing.assert_allclose(alone[0], beside[0], rtol=1e-4, atol=1e-5)


def test_attention_is_written_out_and_the_owners_choice_kept(read_bert):
    operators = {node.op_type for node in onnx.load(read_bert.path).graph.node}
    assert "IsNaN" not in operators
    assert read_bert.module.network.config._attn_implementation == "sdpa"


def test_positions_that_start_behind_the_padding_shorten_the_text(tmp_path):
    folder = tmp_path / "roberta"
    config = RobertaConfig(
        vocab_size=10, max_position_embeddings=14, pad_token_id=0, type_vocab_size=1, **SMALL
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder)
    model = read(folder, tmp_path)
    assert model.processing.settings()["max_length"] == 13
    check_same(model, ["good " * 50])


IMAGES = {
    "vit": (
        lambda: ViTForImageClassification(
            ViTConfig(image_size=32, patch_size=8, num_labels=4, **SMALL)
        ),
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
    ),
    "resnet": (
        lambda: ResNetForImageClassification(
            ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=4)
        ),
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}},
    ),
}


def save_images(kind, folder):
    make, settings = IMAGES[kind]
    make().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_classifier(tmp_path, kind):
    model = read(save_images(kind, tmp_path / kind), tmp_path)
    assert [str(spec) for spec in model.signature.inputs] == [
        "pixel_values: float32[batch, 3, 32, 32]"
    ]
    assert [str(spec) for spec in model.signature.outputs] == ["logits: float32[batch, 4]"]
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    check_same(model, [photo])
    check_same(model, [photo, photo[:40], photo[:, :33]])


@pytest.fixture
def copy(bert, tmp_path):
    """A copy of the text classifier's folder, to be broken."""
    return shutil.copytree(bert, tmp_path / "copy")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work"
    made.mkdir()
    return made


def edit_config(copy, **changes):
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(copy, folder, complaint, kind=ModelError):
    with pytest.raises(kind, match=complaint) as caught:
        read(copy, folder)
    assert len(str(caught.value).splitlines()) == 1
    assert list(folder.iterdir()) == []


def test_weights_pickled_as_plain_tensors_are_loaded(copy, folder):
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    check_same(read(copy, folder), ["good film"])


class Trap:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_weights_pickled_with_other_objects_are_refused(copy, folder):
    (copy / "model.safetensors").unlink()
    torch.save({"weight": Trap()}, copy / "pytorch_model.bin")
    refused(copy, folder, r"pytorch_model.bin is refused: a pickle", UnsafeFileError)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_broken_pickled_weights_are_told(copy, folder, content):
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(content)
    refused(copy, folder, r"pytorch_model.bin", kind=(ModelError, UnsafeFileError))


def test_missing_and_truncated_weights_are_told(copy, folder):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(copy, folder, "cannot be loaded")
    weights.unlink()
    refused(copy, folder, "holds no weights: model.safetensors was wanted")


def test_an_encoder_without_a_trained_head_is_refused(copy, folder):
    BertModel(BertConfig(vocab_size=10, **SMALL)).save_pretrained(copy)
    refused(copy, folder, "is BertModel; those that end in ForSequenceClassification or")
    edit_config(copy, architectures=["BertForSequenceClassification"])
    refused(copy, folder, r"no trained classifier: classifier.bias, classifier.weight are not in")


@pytest.mark.parametrize("architectures", [None, [], ["GPT2LMHeadModel"]])
def test_other_tasks_are_refused(copy, folder, architectures):
    edit_config(copy, architectures=architectures)
    refused(copy, folder, "can be read")


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_a_broken_configuration_is_told(copy, folder, content):
    (copy / "config.json").write_text(content)
    refused(copy, folder, "config.json is no model configuration")


def test_an_unknown_family_is_told(copy, folder):
    edit_config(copy, model_type="no-such-family")
    refused(copy, folder, "cannot be loaded: .*no-such-family")


def test_code_in_the_folder_is_not_run(copy, folder):
    (copy / "evil.py").write_text("raise SystemExit('run')")
    edit_config(copy, auto_map={"AutoModelForSequenceClassification": "evil.Model"})
    refused(copy, folder, "Python code of its own .* not run")


def test_sizes_that_do_not_fit_the_weights_are_told(copy, folder):
    edit_config(copy, hidden_size=32)
    refused(copy, folder, "weights have other shapes than its config.json says")


def test_a_missing_tokenizer_and_image_processor_are_told(copy, folder, tmp_path):
    for path in copy.glob("tokenizer*"):
        path.unlink()
    refused(copy, folder, "no tokenizer that can be used")
    images = save_images("vit", tmp_path / "vit")
    (images / "preprocessor_config.json").write_text("{")
    refused(images, folder, "no image processor that can be used")


def test_a_tokenizer_of_another_model_is_refused(copy, folder):
    path = copy / "tokenizer.json"
    record = json.loads(path.read_text())
    record["model"]["vocab"] |= {f"word{number}": 10 + number for number in range(5)}
    path.write_text(json.dumps(record))
    refused(copy, folder, "tokenizer has 15 tokens, and its network 10")


def test_an_image_processor_of_another_kind_is_refused(folder, tmp_path):
    images = save_images("vit", tmp_path / "vit")
    settings = {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 32}}
    (images / "preprocessor_config.json").write_text(json.dumps(settings))
    refused(images, folder, "image processor .*cannot")


def test_a_name_that_is_neither_here_nor_on_the_hub(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("no-such/model", folder, "no folder 'no-such/model' is here, and the Hugging Face hub")
