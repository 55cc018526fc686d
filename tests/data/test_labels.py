import numpy as np
import pytest

from lepton_ai.data.labels import encode_labels
from lepton_ai.errors import DataError


def encode(labels, source_names=None, model_names=()):
    return encode_labels(
        np.asarray(labels), source_names=source_names, model_names=model_names
    ).tolist()


@pytest.mark.parametrize("labels", [[0, 1, 2], [0.5, 1.5], [True, False]])
def test_numbers_come_back_as_they_are(labels):
    assert encode(labels, model_names=("a", "b", "c")) == labels


def test_the_models_names_decide():
    assert encode(["pos", "neg"], ("neg", "pos"), ("pos", "neg")) == [0, 1]


def test_case_is_ignored_where_that_is_safe():
    assert encode(["Positive", "negative"], None, ("NEGATIVE", "POSITIVE")) == [1, 0]
    with pytest.raises(DataError, match="none of the model's classes"):
        encode(["A"], None, ("a", "aa", "Aa"))


def test_a_name_that_the_model_lacks_is_told_with_those_it_has():
    with pytest.raises(DataError, match=r"\['meh'\] are none of the model's classes \['neg'"):
        encode(["pos", "meh"], None, ("neg", "pos"))


def test_placeholder_names_bind_nothing():
    assert encode(["pos", "neg"], None, ("LABEL_0", "LABEL_1")) == [1, 0]


def test_numbers_written_as_text_keep_their_value_rather_than_their_sorted_place():
    assert encode(["10", "2", "0"]) == [10, 2, 0]
    assert encode(["10", "2"], ("10", "2"), ("cat", "dog")) == [10, 2]
    assert encode(["1.5", "2"]) == [1.5, 2.0]


def test_numbers_that_name_the_models_classes_are_names():
    assert encode(["3", "5"], None, ("3", "5", "7")) == [0, 1]


def test_all_names_of_the_source_are_counted_else_those_that_occur():
    assert encode(["dog", "cat"], ("ant", "cat", "dog")) == [2, 1]
    assert encode(["dog", "cat"]) == [1, 0]


def test_dense_names_keep_their_shape():
    assert encode([["b", "a"], ["a", "c"]]) == [[1, 0], [0, 2]]


def test_bytes_and_objects():
    assert encode([b"b", b"a"]) == [1, 0]
    assert encode(np.asarray(["b", "a"], dtype=object)) == [1, 0]
    assert encode(np.asarray([3, 4], dtype=object)) == [3, 4]


def test_mixed_types_are_refused():
    with pytest.raises(DataError, match=r"\['int', 'str'\]"):
        encode(np.asarray([1, "a"], dtype=object))


def test_nan_among_numbers_is_refused():
    with pytest.raises(DataError, match="nan"):
        encode(["1", "nan", "2.5"])
