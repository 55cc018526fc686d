"""What depends on constants alone, computed ahead of time."""

import math
from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper
from onnx.reference import ReferenceEvaluator

from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.building import constant_of
from lepton_ai.graph.inspection.macs import multiply_accumulates, sizes_of
from lepton_ai.graph.matching.rewiring import can_stand_for, let_go, stand_for
from lepton_ai.graph.random_operators import RANDOM
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.operands import is_standard, opset_of
from lepton_ai.model.signature import Array

#: Folded, they would take the engine's integer kernels away, and four times the space.
QUANTISED = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})
#: Before this opset these went over all axes from one on together; ONNX's definition knows only the
#: later form.
LATER_FORM = 13
ONE_AXIS = frozenset({"Hardmax", "LogSoftmax", "Softmax"})
#: Engines and ONNX's own definition differ in masked scores, and in where maxima are put back.
DISPUTED = frozenset({"Attention", "MaxUnpool"})
#: The bytes that one folded node may add to the file: a mask for some hundred tokens, not a weight.
MOST_BYTES_ADDED = 1 << 20
#: The definition of ONNX computes these element by element in Python: seconds per million.
SLOW = frozenset({"AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool", "Resize"})
MOST_ELEMENTS_SLOW = 1 << 16
#: Some seconds' worth; what takes more is a layer, which nobody applies to constants.
MOST_MACS = 10**9
#: The forms of a Constant that hold one plain tensor.
PLAIN = frozenset(
    {
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "value_string",
        "value_strings",
    }
)


class FoldConstants(Rule):
    """As ONNX Runtime does each time it loads a model; done once, other rules see what it leaves.

    ONNX's own definition of each operator computes it. The optimizer of onnxscript folds too, but
    simplifies much else on the way, which could not be refused node by node.
    """

    name = "fold-constants"
    requires = "all that a node reads is constant, and its answer is the same each time"
    ensures = "the answer is a weight, and a branch that is always taken stands where its If was"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Lift constants into weights, fold what reads only those, keep one branch of an If."""
        _lift(model, ledger)
        for graph in list(model.graphs()):
            _fold(graph, model, ledger)


def _lift(model: ir.Model, ledger: Ledger) -> None:
    """All constants in one firing: a constant is the same constant in either place."""
    constants = [node for graph in model.graphs() for node in graph if _can_lift(node)]
    if constants and ledger.fire(
        f"{constants[0].outputs[0].name}:all", constants, "a constant need not be a node"
    ):
        for node in constants:
            tensor = ir.convenience.get_const_tensor(node.outputs[0])
            if tensor is not None:
                _become_weight(node, node.outputs[0], tensor)
                _drop(node)


def _can_lift(node: ir.Node) -> bool:
    return (
        is_standard(node, "Constant")
        and not node.outputs[0].is_graph_output()
        and len(node.attributes) == 1
        and all(a.name in PLAIN and not a.is_ref() for a in node.attributes.values())
    )


def _fold(nodes: Iterable[ir.Node], model: ir.Model, ledger: Ledger) -> None:
    for node in nodes:
        if is_standard(node, "If"):
            _fold(_choose(node, ledger), model, ledger)
        elif _reads_constants_only(node):
            _compute(node, model, ledger)


def _choose(node: ir.Node, ledger: Ledger) -> list[ir.Node]:
    """Put the branch that is always taken in place of its If; the nodes that came from it."""
    condition = constant_of(node.inputs[0], 1)
    if condition is None or condition.size != 1:
        return []
    taken = bool(condition.reshape(-1)[0])
    branch = node.attributes["then_branch" if taken else "else_branch"].as_graph()
    why = f"its condition is {str(taken).lower()} in every call"
    if not ledger.fire(str(node.outputs[0].name), [node], why):
        return []
    return _splice(node, branch)


def _splice(node: ir.Node, branch: ir.Graph) -> list[ir.Node]:
    graph = _graph_of(node)
    answers, nodes = list(branch.outputs), list(branch)
    branch.outputs.clear()
    branch.remove(nodes)
    for name in list(branch.initializers):
        weight = branch.initializers.pop(name)
        weight.name = _free_name(graph, name)
        graph.register_initializer(weight)
    graph.insert_before(node, nodes)
    for old, new in zip(node.outputs, answers, strict=True):
        answer = new
        if not can_stand_for(new, old):
            alias = ir.node("Identity", [new])
            graph.insert_before(node, alias)
            answer = alias.outputs[0]
            answer.type, answer.shape = old.type, old.shape
        stand_for(answer, old)
    let_go(node)
    _drop(node)
    return nodes


def _reads_constants_only(node: ir.Node) -> bool:
    return (
        node.domain in ("", "ai.onnx")
        and node.op_type not in RANDOM | QUANTISED
        and any(value is not None for value in node.inputs)
        and all(value is None or _is_constant(value) for value in node.inputs)
        and not any(graphs_of(node))
        and not any(attribute.is_ref() for attribute in node.attributes.values())
    )


def _is_constant(value: ir.Value) -> bool:
    if value.is_initializer():
        return not value.is_graph_input() and value.const_value is not None
    made = value.producer()
    return (
        made is not None
        and is_standard(made, "Constant")
        and all(a.name in PLAIN and not a.is_ref() for a in made.attributes.values())
    )


def _compute(node: ir.Node, model: ir.Model, ledger: Ledger) -> None:
    obstacle = _too_much(node) or _defined_otherwise(node, opset_of(model))
    if obstacle:
        ledger.miss([node], obstacle)
        return
    answers = _evaluated(node, model)
    if isinstance(answers, str):
        ledger.miss([node], answers)
        return
    added = sum(answer.nbytes for answer in answers) - _bytes_spared(node)
    if added > MOST_BYTES_ADDED:
        ledger.miss([node], _growth(added))
        return
    if not ledger.fire(str(node.outputs[0].name), [node], "all that it reads is constant"):
        return
    for value, answer in zip(node.outputs, answers, strict=True):
        tensor = _tensor(answer, value.name)
        if value.is_graph_output():
            constant = ir.node("Constant", [], {"value": tensor})
            _graph_of(node).insert_before(node, constant)
            constant.outputs[0].type, constant.outputs[0].shape = value.type, value.shape
            stand_for(constant.outputs[0], value)
        else:
            _become_weight(node, value, tensor)
    _drop(node)


def _tensor(answer: Array, name: str | None) -> ir.TensorProtocol:
    if answer.dtype.kind in "OUS":
        text = [
            one if isinstance(one, bytes) else str(one).encode()
            for one in answer.reshape(-1).tolist()
        ]
        return ir.StringTensor(text, shape=ir.Shape(answer.shape), name=name)
    return ir.tensor(answer, name=name)


def _too_much(node: ir.Node) -> str:
    """Why ``node`` had better be left to run in every call; empty if it need not."""
    outcome = [math.prod(sizes) for value in node.outputs if (sizes := sizes_of(value)) is not None]
    most = max(outcome, default=0)
    if node.op_type in SLOW and (len(outcome) < len(node.outputs) or most > MOST_ELEMENTS_SLOW):
        return "it would take minutes to compute by ONNX's own definition"
    if (multiply_accumulates(node) or 0) > MOST_MACS:
        return "it would take minutes to compute by ONNX's own definition"
    added = sum(map(_bytes_of, node.outputs)) - _bytes_spared(node)
    return _growth(added) if added > MOST_BYTES_ADDED else ""


def _defined_otherwise(node: ir.Node, opset: int) -> str:
    """Why ONNX's definition of ``node`` answers something else than engines; empty if it does not.

    How numbers are spelt is not laid down: engines write 1 for the float that NumPy writes as 1.0.
    """
    if node.op_type in ONE_AXIS and opset < LATER_FORM:
        return f"ONNX's own definition of it is that of opset {LATER_FORM}"
    if node.op_type in DISPUTED or _aligns_corners(node):
        return "engines compute it otherwise than ONNX's own definition of it"
    spells = node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.STRING
    return "each engine spells numbers in its own way" if spells else ""


def _aligns_corners(node: ir.Node) -> bool:
    """Whether ``node`` resizes from corner to corner, of which the last may be a fraction."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "")
    return node.op_type == "Resize" and mode == "align_corners"


def _bytes_of(value: ir.Value) -> int:
    """The bytes of ``value`` as far as it is known how many there will be."""
    sizes = sizes_of(value)
    if sizes is None or value.dtype in (None, ir.DataType.STRING):
        return 0
    return int(math.prod(sizes) * value.dtype.itemsize)


def _growth(added: int) -> str:
    return f"its answer would add {added} bytes to the file"


def _bytes_spared(node: ir.Node) -> int:
    """The bytes of what ``node`` alone reads, which go with it."""
    alone = {
        value
        for value in node.inputs
        if value is not None
        and not value.is_graph_output()
        and all(use.node is node for use in value.uses())
    }
    tensors = [ir.convenience.get_const_tensor(value) for value in alone]
    return sum(int(tensor.nbytes) for tensor in tensors if tensor is not None)


def _evaluated(node: ir.Node, model: ir.Model) -> list[Array] | str:
    """What ``node`` answers, or why that cannot be told."""
    proto = ir.serde.serialize_node(node)
    feed: dict[str, Array] = {}
    for index, value in enumerate(node.inputs):
        held = constant_of(value)
        if held is not None:
            proto.input[index] = f"input_{index}"
            feed[f"input_{index}"] = held
    wanted = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = helper.make_graph([proto], "node", [], wanted)
    try:
        evaluator = ReferenceEvaluator(graph, opsets=dict(model.opset_imports))
        answers = evaluator.run([value.name for value in wanted], feed)
    except Exception as failure:  # whatever ONNX's definition of the operator happens to raise
        return f"ONNX's own definition of it failed: {failure}"
    if len(answers) != len(node.outputs):
        return "not all of its outputs have a name"
    for value, answer in zip(node.outputs, answers, strict=True):
        fault = _fault(value, answer)
        if fault:
            return fault
    return list(answers)


def _fault(value: ir.Value, answer: object) -> str:
    """Where a computed answer is not what inference says that it is."""
    if not isinstance(answer, np.ndarray | np.generic):
        return "its answer is not a tensor"
    if answer.dtype.kind in "OUS":
        return "" if value.dtype in (None, ir.DataType.STRING) else "its answer is text"
    if value.dtype is not None and ir.DataType.from_numpy(answer.dtype) != value.dtype:
        return f"ONNX's own definition of it answers {answer.dtype}, not {value.dtype}"
    sizes = sizes_of(value)
    if sizes is not None and answer.shape != sizes:
        return f"ONNX's own definition of it answers {list(answer.shape)}, not {list(sizes)}"
    return ""


def _become_weight(node: ir.Node, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    graph = _graph_of(node)
    weight = ir.Value(
        name=_free_name(graph, str(value.name)),
        shape=ir.Shape(tensor.shape.numpy()),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(weight)
    stand_for(weight, value)


def _free_name(graph: ir.Graph, name: str) -> str:
    free, number = name, 0
    while free in graph.initializers:
        number += 1
        free = f"{name}_{number}"
    return free


def _graph_of(node: ir.Node) -> ir.Graph:
    if node.graph is None:
        raise ValueError(f"node {node.name!r} is in no graph")
    return node.graph


def _drop(node: ir.Node) -> None:
    _graph_of(node).remove(node, safe=True)
