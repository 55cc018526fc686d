from contextlib import ExitStack

import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from lepton_ai.errors import MissingExtraError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespace import namespaces


@pytest.fixture(params=namespaces.names())
def namespace(request):
    """Each library that the table runs with; one that is not installed is skipped by name."""
    try:
        library = namespaces.get(request.param)()
    except MissingExtraError as missing:
        pytest.skip(f"{request.param}: {missing}")
    with ExitStack() as stack:
        if request.param == "jax":  # it has no types of 64 bits otherwise
            import jax

            stack.enter_context(jax.enable_x64(True))
        yield library


@pytest.fixture(scope="session")
def model_of_one_node():
    """A graph of one node; its inputs at the places ``known`` are initialisers."""

    def model(operator, inputs, opset, outputs, *, domain="", known=(), **attributes):
        names = ["" if one is None else f"x{i}" for i, one in enumerate(inputs)]
        results = [f"y{i}" for i in range(outputs)]
        node = helper.make_node(operator, names, results, domain=domain, **attributes)
        free = [
            helper.make_tensor_value_info(
                f"x{i}", helper.np_dtype_to_tensor_dtype(one.dtype), [None] * one.ndim
            )
            for i, one in enumerate(inputs)
            if one is not None and i not in known
        ]
        graph = helper.make_graph(
            [node],
            "g",
            free,
            [onnx.ValueInfoProto(name=name) for name in results],
            [numpy_helper.from_array(inputs[i], f"x{i}") for i in known],
        )
        opsets = [helper.make_opsetid(domain, opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    return model


@pytest.fixture(scope="session")
def one_node(model_of_one_node):
    """What a node answers with NumPy: ``one_node("Split", [x], outputs=2, axis=1)``."""

    def run(operator, inputs, *, opset=22, outputs=1, **attributes):
        model = model_of_one_node(operator, inputs, opset, outputs, **attributes)
        evaluation = Evaluation(ir.from_proto(model), namespaces.get("numpy")())
        given = {f"x{i}": one for i, one in enumerate(inputs) if one is not None}
        return list(evaluation.run(given).values())

    return run


@pytest.fixture(scope="session")
def by_onnxruntime(model_of_one_node):
    """What the same node answers in ONNX Runtime."""

    def run(operator, inputs, *, opset=22, outputs=1, known=(), **attributes):
        model = model_of_one_node(operator, inputs, opset, outputs, known=known, **attributes)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        free = [i for i, one in enumerate(inputs) if one is not None and i not in known]
        return session.run(None, {f"x{i}": inputs[i] for i in free})

    return run
