"""A quantised graph opened up for training, and closed again with the weights that came of it.

Pairs of ``QuantizeLinear`` and ``DequantizeLinear`` become one node that rounds and lets gradients
pass (Bengio et al. 2013, arXiv:1308.3432, straight through); weights in integers become floats that
are rounded in each step. The graph then learns to answer as the original with its rounding in place
(quantisation-aware training; with the original for a teacher, labels are not needed). Closed, it is
the same quantised graph with other integers, which engines run as they ran the first.
"""

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from lepton_ai.errors import ModelError
from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.model.signature import Array
from lepton_ai.operators.operator import LEPTON

_LATENT, _TABLE = "latent/", "table/"
#: Rounded to so many bits that training need not know.
_FINE = frozenset({ir.DataType.INT32})


def opened(quantised: ir.Model) -> ir.Model:
    """A copy of ``quantised`` that can be trained: it answers as that does.

    Tables that are looked up are not trained: a step would round all rows for a few.

    Raises:
        ModelError: no weight in it is stored in integers.
    """
    model = quantised.clone()
    graph = model.graph
    latent = 0
    for node in list(graph):
        if node.op_type != "DequantizeLinear" or node.domain not in ("", "ai.onnx"):
            continue
        source = node.inputs[0]
        maker = source.producer() if source is not None else None
        if source is not None and source.is_initializer():
            looked_up = all(use.node.op_type == "Gather" for use in node.outputs[0].uses())
            exact = add_weight(
                graph, (_TABLE if looked_up else _LATENT) + str(source.name), _widened(node)
            )
            latent += not looked_up
            if looked_up or source.dtype in _FINE:
                ir.convenience.replace_all_uses_with(node.outputs[0], exact)
                continue
        elif (
            maker is not None and maker.op_type == "QuantizeLinear" and maker.inputs[0] is not None
        ):
            exact = maker.inputs[0]
        else:
            continue
        _round(node, exact)
    if not latent:
        raise ModelError("no weight of the quantised graph is stored in integers")
    passes.RemoveUnusedNodesPass()(model)
    model.opset_imports[LEPTON] = 1
    return model


def _round(node: ir.Node, exact: ir.Value) -> None:
    """Let what reads ``node``, which dequantises, read ``exact`` rounded as it was."""
    graph, scale = node.graph, node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    assert isinstance(graph, ir.Graph), "it was found in one"
    assert scale is not None, "it has one"
    if zero is None:
        source = node.inputs[0]
        known = source is not None and source.dtype is not None
        dtype = source.dtype.numpy() if known else np.dtype(np.uint8)  # type: ignore[union-attr]
        zero = add_weight(graph, f"{scale.name}/zero", np.zeros((), dtype=dtype))
    rounding = ir.node(
        "FakeQuantize",
        [exact, scale, zero],
        {"axis": node.attributes.get_int("axis", 1)},
        domain=LEPTON,
        name=f"{node.name}/rounding",
    )
    rounded = rounding.outputs[0]
    rounded.shape, rounded.type = exact.shape, exact.type
    before = node.outputs[0]
    rounded.name, before.name = before.name, f"{before.name}/before"  # it may be an answer's
    graph.insert_before(node, rounding)
    ir.convenience.replace_all_uses_with(before, rounded, replace_graph_outputs=True)


def frozen(model: ir.Model) -> frozenset[str]:
    """The initialisers of an opened graph that training leaves as they are: scales, and tables."""
    scales = {
        str(node.inputs[1].name)
        for node in model.graph
        if node.op_type == "FakeQuantize" and node.inputs[1] is not None
    }
    return frozenset(scales | {n for n in model.graph.initializers if n.startswith(_TABLE)})


def closed(trained: ir.Model, quantised: ir.Model) -> ir.Model:
    """A copy of ``quantised`` with the weights that ``trained``, opened from it, has come to."""
    done = quantised.clone()
    held = trained.graph.initializers
    for name, value in done.graph.initializers.items():
        if name in held and held[name].const_value is not None:
            value.const_value = held[name].const_value
    for node in done.graph:
        source = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if source is None or not source.is_initializer():
            continue
        latent = held.get(_LATENT + str(source.name))
        if latent is not None:
            array = constant_of(latent)
            assert array is not None, "training leaves weights as constants"
            source.const_value = ir.tensor(_narrowed(node, array), name=source.name)
    return done


def _widened(node: ir.Node) -> Array:
    """What a node that dequantises a constant answers."""
    values = constant_of(node.inputs[0])
    assert values is not None, "it is an initialiser"
    scale, zero = _along(node, values)
    return ((values.astype(np.float64) - zero) * scale).astype(np.float32)


def _narrowed(node: ir.Node, values: Array) -> Array:
    """The inverse of :func:`_widened`, rounded to the nearest integer that there is."""
    source = node.inputs[0]
    assert source is not None, "it is an initialiser"
    assert source.dtype is not None, "those have a type"
    scale, zero = _along(node, values)
    dtype = source.dtype.numpy()
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale + zero), limits.min, limits.max).astype(dtype)


def _along(node: ir.Node, values: Array) -> tuple[Array, Array]:
    """The scale and the zero point in the shape of ``values``, or so that they spread over it."""
    found = []
    for place in (1, 2):
        given = constant_of(node.inputs[place]) if len(node.inputs) > place else None
        numbers = np.zeros(()) if given is None else given.astype(np.float64)
        if numbers.size > 1:
            axis = node.attributes.get_int("axis", 1) % values.ndim
            numbers = numbers.reshape(-1, *[1] * (values.ndim - axis - 1))
        else:
            numbers = numbers.reshape(())
        found.append(numbers)
    return found[0], found[1]
