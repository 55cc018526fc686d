"""Texts, against ONNX Runtime where the ONNX project's cases say nothing."""

import numpy as np
import onnx_ir as ir
import pytest
from against_onnxruntime import node_model, same

from lepton_ai.errors import EngineError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespaces.numpy import NumpyNamespace

XP = NumpyNamespace()
WORDS = np.array(["Caf\u00e9", "the", "The", "end"], object)


@pytest.mark.parametrize("action", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("sensitive", [0, 1])
def test_normalised(action, sensitive):
    options = {"case_change_action": action, "is_case_sensitive": sensitive, "stopwords": ["the"]}
    for words in (WORDS, WORDS.reshape(1, 4)):
        same(XP, "StringNormalizer", [words], domain="", **options, locale="C.UTF-8")


def grams(**more):
    return {
        "min_gram_length": 1,
        "max_gram_length": 2,
        "max_skip_count": 1,
        "ngram_counts": [0, 3],
        "ngram_indexes": [2, 0, 1, 4, 3],
        **more,
    }


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("weights", [{}, {"weights": [0.1, 0.2, 0.3, 0.4, 0.5]}])
def test_counted(mode, weights):
    tokens = np.array([[1, 1, 3, 2, 3], [2, 5, 3, 7, 1]])
    options = {**grams(pool_int64s=[1, 2, 3, 1, 3, 2, 3]), "mode": mode, **weights}
    same(XP, "TfIdfVectorizer", [tokens], domain="", **options)
    same(XP, "TfIdfVectorizer", [tokens[0]], domain="", **options)
    words = np.array(["a", "a", "c", "b", "c"], object)
    pool = {"pool_strings": ["a", "b", "c", "a", "c", "b", "c"], "mode": mode}
    same(XP, "TfIdfVectorizer", [words], domain="", **grams(**pool), **weights)


def test_a_pattern_that_cannot_be_read_is_told():
    proto, names = node_model("RegexFullMatch", [WORDS], ["y"], "", 21, pattern="(")
    with pytest.raises(EngineError, match="pattern '\\('"):
        Evaluation(ir.from_proto(proto), XP).run({names[0]: WORDS})


def test_the_end_of_a_text_may_be_spelled_as_re2_does():
    proto, names = node_model("RegexFullMatch", [WORDS], ["y"], "", 21, pattern=r"\Athe\z")
    found = Evaluation(ir.from_proto(proto), XP).run({names[0]: WORDS})
    assert found["y"].tolist() == [False, True, False, False]
