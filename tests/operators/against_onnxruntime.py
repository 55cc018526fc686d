"""One node, run by ONNX Runtime and by the table, on the same inputs."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespace import namespaces

#: What the libraries differ by in float32, over sums of a few dozen numbers near one.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


def node_model(name, inputs, outputs, domain, version, **attributes):
    names = [f"i{place}" if one is not None else "" for place, one in enumerate(inputs)]
    node = helper.make_node(name, names, outputs, domain=domain, **attributes)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape)
        for name, one in zip(names, inputs, strict=True)
        if one is not None
    ]
    made = [
        helper.make_tensor_value_info(one, TensorProto.UNDEFINED, None) for one in outputs if one
    ]
    for one in made:
        one.ClearField("type")
    opsets = [helper.make_opsetid("", 21)]
    if domain:
        opsets.append(helper.make_opsetid(domain, version))
    graph = helper.make_graph([node], "one", given, made)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), names


def both(namespace, name, inputs, outputs=("y",), domain="com.microsoft", version=1, **attributes):
    """What ONNX Runtime answers, and what the table does with ``namespace``."""
    model, names = node_model(name, inputs, list(outputs), domain, version, **attributes)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {name: one for name, one in zip(names, inputs, strict=True) if one is not None}
    wanted = session.run([one for one in outputs if one], feed)
    ours = {
        name: one if one.dtype == object else namespace.from_host(one) for name, one in feed.items()
    }
    found = Evaluation(ir.from_proto(model), namespace).run(ours)
    return wanted, [host(namespace, one) for one in found.values()]


def compiled(name, inputs, outputs=("y",), domain="com.microsoft", version=1, **attributes):
    """What the table answers where JAX compiles it, and what it answers with NumPy."""
    jax = pytest.importorskip("jax")
    model, names = node_model(name, inputs, list(outputs), domain, version, **attributes)
    feed = {name: one for name, one in zip(names, inputs, strict=True) if one is not None}
    plain, traced = (
        Evaluation(ir.from_proto(model), namespaces.get(library)()) for library in ("numpy", "jax")
    )
    wanted, found = plain.run(feed), jax.jit(traced.run)(feed)
    for key, one in wanted.items():
        np.testing.assert_allclose(np.asarray(found[key]), one, **FLOAT32)


def host(namespace, value):
    if isinstance(value, np.ndarray | list):
        return value
    return namespace.to_host(value)


def dtype_with(namespace, array):
    """The dtype that ``array`` has there: not every library has integers of 64 bits."""
    if array.dtype.kind in "USO":
        return np.dtype(object)
    return namespace.dtype_of(namespace.from_host(array))


def same(namespace, *arguments, tolerance=FLOAT32, **options):
    """The table's answer is ONNX Runtime's."""
    for wanted, found in zip(*both(namespace, *arguments, **options), strict=True):
        wanted = np.asarray(wanted)
        # What is known beforehand is NumPy's whatever the library.
        assert found.dtype in (dtype_with(namespace, wanted), wanted.dtype)
        assert found.shape == wanted.shape
        if wanted.dtype.kind in "USO":
            assert found.tolist() == wanted.tolist()
        else:
            np.testing.assert_allclose(found, wanted, **tolerance)


def near(namespace, *arguments, most=0.02, **options):
    """Integers that are the same but for a share of ``most``, which are off by one.

    ONNX Runtime multiplies by inverses and looks values up in tables, so that ties round otherwise.
    """
    (wanted,), (found,) = both(namespace, *arguments, **options)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    apart = np.abs(found.astype(np.int64) - wanted.astype(np.int64))
    assert apart.max() <= 1
    assert (apart > 0).mean() <= most
