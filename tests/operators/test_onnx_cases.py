"""The ONNX project's own node cases, run through the table with every array library."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.loader import load_model_tests

from lepton_ai.operators.evaluation import Evaluation, unknown
from lepton_ai.operators.namespace import namespaces
from lepton_ai.operators.operator import meanings

CASES = {case.name: case for case in load_model_tests(kind="node")}

#: Operators of cases that have no meaning here, and why.
WITHOUT_MEANING = {
    ("ai.onnx.preview.training", name): "a step of training, not of a network"
    for name in ("Adagrad", "Adam", "Momentum")
}
_DRAWS = (r"bernoulli.*", "draws with a generator of its own")
_EXPANDED = r"(_expanded(_ver\d+)?)?"
_ROUNDED = (
    r"attention_\dd_(causal|padded_kv|causal_padded_kv|attn_mask_causal)_(bf16|fp16)_expanded",
    "the case rounds to 16 bits after every step, where a softmax here rounds once, and its "
    "tolerance is less than the last bit of such a number",
)
_NARROW = r"(UINT|INT|uint|int)[24]|FLOAT4E2M1|float4e2m1"
#: Cases that a library cannot do, as patterns of names (or of what they are expanded to), and why.
CANNOT = {
    "numpy": [_DRAWS, _ROUNDED],
    "torch": [
        _DRAWS,
        _ROUNDED,
        (
            r"attention_\dd_(causal|padded_kv|causal_padded_kv)_bf16",
            "PyTorch adds up products of 16 bits in an order and a width of its own",
        ),
        (
            rf"((cast|castlike)_.*({_NARROW})(_to_.*)?|(de)?quantizelinear_({_NARROW}))",
            "PyTorch has no dtype narrower than a byte",
        ),
        (
            r"((add|bitshift_left|bitshift_right|div|greater|greater_equal|less|less_equal|max|min"
            r"|mod|sub)_uint(16|32|64)|bitwise_not_3d|top_k_uint64)",
            "PyTorch has next to no kernels for unsigned integers wider than a byte",
        ),
        (
            r"cast(like)?_no_saturate_FLOAT(16)?_to_FLOAT8E4M3FN",
            "PyTorch always saturates this dtype",
        ),
        (r"dft_inverse(_opset19)?", "wants 1.9e-7 to 1e-7 of sums of numbers near 1, in float32"),
    ],
    "jax": [
        _DRAWS,
        _ROUNDED,
        (
            r"attention_\dd_(causal|padded_kv|causal_padded_kv)_bf16",
            "XLA adds up products of 16 bits in an order and a width of its own",
        ),
        (
            r"cast(like)?_FLOAT(16)?_to_U?INT[24]",
            "where the number is out of range, which ONNX leaves open, XLA takes the nearest",
        ),
        (
            r"cast_e8m0_FLOAT(16)?_to_FLOAT8E8M0",
            "the least of this dtype, 2**-127, is nothing to XLA, which flushes such floats",
        ),
        (r"dft(_axis)?(_opset19)?", "wants zero to 1e-7 of sums of numbers near 1, in float32"),
        (r"dynamicquantizelinear", "a half, which XLA's division misses by a last bit"),
    ],
}


def operators_of(case):
    model = ir.from_proto(case.model)
    return {(node.domain, node.op_type) for node in model.graph.all_nodes()}


def has_meaning(case):
    return all(key in meanings() for key in operators_of(case))


def host(value):
    """An array of a case as the graphs' own, whatever the case keeps it in."""
    if value is None or isinstance(value, list):
        return value if value is None else [host(one) for one in value]
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return [host(one) for one in onnx.numpy_helper.to_list(value)]
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "US" else array


def given(value, namespace):
    if isinstance(value, list):
        return [given(one, namespace) for one in value]
    return value if value is None or value.dtype == object else namespace.from_host(value)


def check(answer, wanted, case, namespace):
    if isinstance(wanted, list):
        assert isinstance(answer, list)
        assert len(answer) == len(wanted)
        for one, other in zip(answer, wanted, strict=True):
            check(one, other, case, namespace)
        return
    if wanted is None:
        assert answer is None
        return
    answer = answer if isinstance(answer, np.ndarray) else namespace.to_host(answer)
    assert answer.dtype == wanted.dtype
    assert answer.shape == wanted.shape
    if wanted.dtype == object:
        assert answer.tolist() == wanted.tolist()
        return
    if wanted.dtype.kind not in "biufc":
        answer, wanted = answer.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_allclose(answer, wanted, rtol=case.rtol, atol=case.atol)


def run(case, namespace):
    evaluation = Evaluation(ir.from_proto(case.model), namespace)
    names = [value.name for value in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        values = [given(host(value), namespace) for value in inputs]
        answers = evaluation.run(dict(zip(names, values, strict=True)))
        for answer, wanted in zip(answers.values(), outputs, strict=True):
            check(answer, host(wanted), case, namespace)


def cannot(name, library):
    """Why the case is listed for the library, if it is."""
    plain = name.removeprefix("test_")
    reasons = [why for pattern, why in CANNOT[library] if re.fullmatch(pattern + _EXPANDED, plain)]
    return reasons[0] if reasons else None


#: XLA compiles every node of every case, which takes minutes.
LIBRARIES = [
    pytest.param(name, marks=[pytest.mark.slow] if name == "jax" else [])
    for name in namespaces.names()
]

#: Reasons that hold for one draw, or for the order in which one processor adds up, and not for all.
BY_CHANCE = {
    why
    for listed in CANNOT.values()
    for _, why in listed
    if why in (_DRAWS[1], _ROUNDED[1]) or "adds up" in why or "sums of numbers" in why
}


@pytest.mark.parametrize("namespace", LIBRARIES, indirect=True)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if has_meaning(case)])
def test_case(name, namespace):
    reason = cannot(name, namespace.name)
    if reason is None:
        run(CASES[name], namespace)
        return
    try:
        run(CASES[name], namespace)
    except Exception:  # whatever the library raises where it cannot
        return
    if reason in BY_CHANCE:
        return
    pytest.fail(f"{name} passes with {namespace.name}, and is listed as impossible: {reason}")


def test_the_lists_name_what_there_is():
    missing = {
        key for case in CASES.values() for key in operators_of(case) if key not in meanings()
    }
    assert missing == set(WITHOUT_MEANING)
    for library, listed in CANNOT.items():
        for _, why in listed:
            assert any(cannot(name, library) == why for name in CASES)


def test_an_operator_without_a_meaning_is_told_with_its_node():
    (name,) = [name for name in CASES if name == "test_adam"]
    ((node, reason),) = unknown(ir.from_proto(CASES[name].model))
    assert node.op_type == "Adam"
    assert "Adam" in reason
    assert "ai.onnx.preview.training" in reason
