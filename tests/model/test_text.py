"""Texts to token ids and back to labels, with a small real tokenizer."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lepton_ai.errors import DataError, ModelError
from lepton_ai.model.processing import processings
from lepton_ai.model.text import TextClassification, TextSettings

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "very"]


def tokenizer_json(*, padded_in_file=False):
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    if padded_in_file:
        tokenizer.enable_padding(length=128)
        tokenizer.enable_truncation(3)
    return tokenizer.to_str().encode()


def classifier(tokenizer=None, **changes):
    settings = {"max_length": 8, "labels": ("bad", "good"), **changes}
    return TextClassification(
        tokenizer=tokenizer or tokenizer_json(), settings=TextSettings(**settings)
    )


def test_feed_pads_to_the_longest_and_masks():
    fed = classifier().feed(["good", "a very bad film"])
    assert list(fed) == ["input_ids", "attention_mask"]
    assert fed["input_ids"].tolist() == [[2, 4, 3, 0, 0, 0], [2, 7, 8, 5, 6, 3]]
    assert fed["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]]
    assert all(array.dtype == np.int64 for array in fed.values())


def test_feed_truncates_and_keeps_the_closing_token():
    fed = classifier(max_length=4).feed(["a very bad film"])
    assert fed["input_ids"].tolist() == [[2, 7, 8, 3]]


def test_feed_pads_to_a_multiple_on_the_left_with_another_id():
    chosen = classifier(pad_to_multiple_of=4, pad_side="left", pad_id=1, pad_token="[UNK]")
    assert chosen.feed(["good film film"])["input_ids"].tolist() == [[1, 1, 1, 2, 4, 6, 6, 3]]


def test_padding_and_truncation_kept_in_the_file_do_not_count():
    texts = ["a very bad film"]
    kept = classifier(tokenizer_json(padded_in_file=True)).feed(texts)
    assert kept["input_ids"].tolist() == classifier().feed(texts)["input_ids"].tolist()


def test_inputs_follow_the_networks_names():
    fed = classifier(inputs=("token_type_ids", "input_ids")).feed(["good"])
    assert list(fed) == ["token_type_ids", "input_ids"]
    assert fed["token_type_ids"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["good", ""], "sample 1 is an empty text"),
        (["good", "bad", " \n\t"], "sample 2 is an empty text"),
        ([b"good"], "sample 0 should be a text, and a bytes came"),
        (["good", None], "sample 1 should be a text, and a NoneType came"),
        (["good", float("nan")], "sample 1 should be a text, and a float came"),
        (["\ud800"], "sample 0 holds half of a surrogate pair"),
        ([], "at least one text"),
    ],
)
def test_what_is_no_text_is_named(texts, complaint):
    with pytest.raises(DataError, match=complaint):
        classifier().feed(texts)


def test_present_is_softmax_over_the_labels():
    answers = classifier().present({"logits": np.array([[0.0, np.log(3)], [1000.0, -1000.0]])})
    assert answers[0]["label"] == "good"
    assert answers[0]["scores"] == pytest.approx({"bad": 0.25, "good": 0.75})
    assert answers[1] == {"label": "bad", "scores": {"bad": 1.0, "good": 0.0}}
    json.dumps(answers)


def test_present_one_sigmoid_score():
    chosen = classifier(labels=("spam",), answer="sigmoid")
    answers = chosen.present({"logits": np.array([[2.0], [-1000.0]], dtype=np.float32)})
    assert [answer["label"] for answer in answers] == ["spam", None]
    assert answers[0]["scores"]["spam"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert answers[1]["scores"]["spam"] == 0.0


def test_present_a_regression_as_it_is():
    answers = classifier(labels=("stars",), answer="raw").present({"logits": np.array([[3.5]])})
    assert answers == [{"label": "stars", "scores": {"stars": 3.5}}]


def test_scores_that_are_not_one_per_label_are_refused():
    with pytest.raises(ModelError, match=r"scores \[n, 2\] were wanted, and \[1, 3\] came"):
        classifier().present({"logits": np.zeros((1, 3))})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tokenizer": b"{}"}, "tokenizer.json cannot be used"),
        ({"tokenizer": b"\xff\xfe"}, "tokenizer.json cannot be used"),
        ({"max_length": 2}, "more than the 2 special tokens"),
        ({"pad_side": "middle"}, "tokenizer.json cannot be used"),
        ({"inputs": ("pixels",)}, "'pixels' came"),
        ({"answer": "maybe"}, "'maybe' came"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, complaint):
    with pytest.raises(ModelError, match=complaint):
        classifier(**changes).feed(["good"])


def test_rebuilt_from_json_and_files_it_answers_the_same():
    chosen = classifier(pad_to_multiple_of=4, answer="sigmoid")
    settings = json.loads(json.dumps(chosen.settings()))
    again = processings.get(chosen.kind).rebuild(settings, chosen.files())
    assert again.settings() == chosen.settings()
    assert again.files() == chosen.files()
    assert again.label_names == ("bad", "good")
    fed = again.feed(["a film"])
    assert {k: v.tolist() for k, v in fed.items()} == {
        k: v.tolist() for k, v in chosen.feed(["a film"]).items()
    }
