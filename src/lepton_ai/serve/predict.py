"""Answers in the task's own terms, for people: a text or an image in, labels and scores out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_ai.bundle.net import Net
from lepton_ai.model.signature import Array, Arrays, TensorSpec
from lepton_ai.serve import tensors
from lepton_ai.serve.protocol import parse_object
from lepton_ai.serve.refusal import RefusalError

#: What ``curl -d`` sends unless told otherwise is a form by its label and JSON by its content.
_JSON_TYPES = {"application/json", "application/x-www-form-urlencoded", ""}
_IMAGE_TYPES = ("image/", "application/octet-stream")
#: Texts in one request; one request must not hold a model for minutes.
TEXTS_LIMIT = 1024


def answer_predict(net: Net, content_type: str, content: bytes) -> dict[str, Any]:
    """The answer to one request: ``{"text"}``, ``{"texts"}``, ``{"inputs"}``, or an image's bytes.

    Raises:
        RefusalError: a body of another kind (415), or one that this model does not take (400).
        DataError: a sample that does not fit; the message says how.
    """
    if _takes(net) == "image" and content_type.startswith(_IMAGE_TYPES):
        return {"model": net.name, **net.predict([content])[0]}
    if content_type not in _JSON_TYPES:
        wanted = "an image" if _takes(net) == "image" else "application/json"
        raise RefusalError(415, f"/predict/{net.name} wants {wanted}, and {content_type!r} came")
    record = parse_object(content)
    for key, answer in _ANSWERS.items():
        if set(record) == {key}:
            return {"model": net.name, **answer(net, record[key])}
    raise RefusalError(400, f"/predict wants {_example(net)}, and the keys {sorted(record)} came")


def _answer_text(net: Net, text: Any) -> dict[str, Any]:
    return _answer_texts(net, [text])["answers"][0]  # type: ignore[no-any-return]


def _answer_texts(net: Net, texts: Any) -> dict[str, Any]:
    # An image's processing opens a path that it is given: no text of a client may reach it.
    if _takes(net) != "text":
        raise RefusalError(400, f"{net.name} takes no text: /predict wants {_example(net)}")
    if not isinstance(texts, list) or len(texts) > TEXTS_LIMIT:
        raise RefusalError(400, f'"texts" wants a list of at most {TEXTS_LIMIT} texts')
    return {"answers": net.predict(texts)}


def _answer_inputs(net: Net, inputs: Any) -> dict[str, Any]:
    if not isinstance(inputs, dict):
        raise RefusalError(400, f"/predict wants {_example(net)}")
    specs = {spec.name: spec for spec in net.signature.inputs}
    arrays: Arrays = {
        name: _tensor(specs[name], value) if name in specs else np.zeros(0)
        for name, value in inputs.items()
    }
    outputs = net.run(arrays)
    return {"outputs": {name: _nested(array) for name, array in outputs.items()}}


_ANSWERS: dict[str, Callable[[Net, Any], dict[str, Any]]] = {
    "text": _answer_text,
    "texts": _answer_texts,
    "inputs": _answer_inputs,
}


def _tensor(spec: TensorSpec, value: Any) -> Array:
    """A nested list (or one bare value) as a tensor; its own nesting is its shape."""
    shape = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = value if isinstance(value, list) else [value]
    return tensors.from_json(spec.name, tensors.DATATYPES[spec.dtype], shape, flat)


def _nested(array: Array) -> Any:
    flat = np.empty(array.size, dtype=object)
    flat[:] = tensors.to_json(array)
    return flat.reshape(array.shape).tolist()


def _takes(net: Net) -> str:
    """What a raw sample is: a processing's kind begins with it (``text-classification``)."""
    return "array" if net.processing is None else net.processing.kind.partition("-")[0]


def _example(net: Net) -> str:
    names = ", ".join(f'"{name}": […]' for name in net.signature.input_names)
    shown = {"text": '{"text": …} or {"texts": […]}', "image": "the bytes of an image"}
    return shown.get(_takes(net), f'{{"inputs": {{{names}}}}}')
