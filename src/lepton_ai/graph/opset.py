"""Another opset, on request: every node in the form that ONNX gives it there, or a clear refusal.

The ONNX project's converter does the changing, one node at a time, so that the names, weights,
subgraphs and foreign operators around a node stay as they are, and so that what cannot be converted
has a name. Where it knows no way down, an operator that is defined as a function of others becomes
these. What it leaves unchanged without saying so is found by comparing every node with the
operator's definition in the new opset.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir
from onnx import inliner, shape_inference, version_converter
from onnx_ir.passes import common

from lepton_ai.errors import ModelError
from lepton_ai.formats.quiet import quiet
from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.rule import node_label

#: Before this one, broadcasting was another, and no engine of today reads it.
OLDEST = 7
#: Settings that moved between inputs and attributes are short; weights need not be looked at.
LONGEST_SETTING = 1024
#: Forms of these may look alike and mean something else.
CHANGED_MEANING = frozenset(
    {"AveragePool", "GridSample", "GroupNormalization", "Hardmax", "LogSoftmax", "Resize"}
    | {"RoiAlign", "Scan", "Softmax"}
)
#: Attributes that, at this value, say what went without saying before there were any.
UNSAID = {"allowzero": 0, "batch_dims": 0, "layout": 0, "noop_with_empty_axes": 0, "saturate": 1}
UNSAID |= {"start": 0, "training_mode": 0}
#: All that ever changed in these is which types they take; their insides are converted apart.
SAME_BUT_FOR_TYPES = frozenset({"Constant", "If", "Loop"})


def convert_opset(model: ir.Model, version: int) -> None:
    """Turn every node of ``model`` into its form in opset ``version``, up or down, in place.

    Functions are put in the place of their calls. If this raises, ``model`` is half converted.

    Raises:
        ModelError: there is no such opset, or a node has no form in it; the message names it.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= version <= newest:
        raise ModelError(f"opset {version} is none of those from {OLDEST} to {newest}")
    _inline(model)
    current = model.opset_imports.get("", version)
    if current != version:
        infer_shapes(model)
        with quiet():
            conversion = _Conversion(version=version)
            for graph in list(model.graphs()):
                conversion.convert(list(graph), graph, current)
            common.RemoveUnusedNodesPass()(model)
            common.NameFixPass()(model)
    model.opset_imports[""] = version
    needed = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", version)])
    model.ir_version = max(model.ir_version, needed)
    for node in model.graph.all_nodes():
        why = misfit(node, version)
        if why:
            raise ModelError(_refusal(node, current, version, why))


def misfit(node: ir.Node, version: int) -> str:
    """What of ``node`` its operator's definition in opset ``version`` does not allow."""
    if node.domain:
        return ""
    schema = _schema(node.op_type, version)
    if schema is None:
        return f"opset {version} has no such operator"
    unknown = [name for name in node.attributes if name not in schema.attributes]
    if unknown:
        return f"opset {version} knows no attribute {unknown[0]!r} of it"
    given = max((at + 1 for at, value in enumerate(node.inputs) if value is not None), default=0)
    if not schema.min_input <= given <= schema.max_input:
        return f"opset {version} wants {schema.min_input} to {schema.max_input} inputs, not {given}"
    allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for at, value in enumerate(values):
            formal = formals[min(at, len(formals) - 1)]
            kinds = allowed.get(formal.type_str, [formal.type_str])
            if value is not None and isinstance(value.type, ir.TensorType):
                kind = f"tensor({value.type.dtype.name.lower()})"
                if kind not in kinds:
                    return f"opset {version} allows no {kind} as its {formal.name!r}"
    return ""


def _inline(model: ir.Model) -> None:
    wanted = model.opset_imports.get("")
    for function in model.functions.values():
        if function.opset_imports.get("", wanted) != wanted:
            raise ModelError(f"function {function.name!r} is in another opset than its model")
    if model.functions:
        with quiet():
            common.InlinePass()(model)
            model.functions.clear()


@dataclass(frozen=True, kw_only=True)
class _Becomes:
    """What a node becomes in opset ``at``, its inputs and outputs named by number.

    ``graph`` is ``None`` where it stays as it is.
    """

    graph: onnx.GraphProto | None
    at: int


@dataclass(kw_only=True)
class _Conversion:
    """To one opset; nodes that differ in their names alone are converted once."""

    version: int
    converted: dict[tuple[bytes, int], _Becomes | str] = field(default_factory=dict)

    def convert(self, nodes: Sequence[ir.Node], graph: ir.Graph | ir.Function, at: int) -> None:
        """Convert ``nodes`` of ``graph``, in opset ``at``, one change of their operator at a time.

        A change may make several nodes of one, of other operators; each then goes on by itself.
        """
        waiting = [(node, at) for node in reversed(nodes) if not node.domain]
        while waiting:
            node, now = waiting.pop()
            if node.op_type in SAME_BUT_FOR_TYPES and _schema(node.op_type, now) is not None:
                continue
            following = self._next(node.op_type, now)
            if following is None:
                continue
            found = self._look_up(node, now, following)
            if isinstance(found, str):
                raise ModelError(_refusal(node, at, self.version, found))
            new = [node] if found.graph is None else _transplant(found.graph, node, graph)
            waiting += [(one, found.at) for one in reversed(new) if not one.domain]

    def _next(self, operator: str, now: int) -> int | None:
        """The opset beyond the next change of ``operator`` on the way; ``None`` if none is left."""
        schema = _schema(operator, now)
        if now > self.version:
            since = now if schema is None else schema.since_version
            return since - 1 if since > self.version else None
        for later in range(now + 1, self.version + 1):
            changed = _schema(operator, later)
            if changed is None or schema is None or changed.since_version == later:
                return later
        return None

    def _look_up(self, node: ir.Node, now: int, following: int) -> _Becomes | str:
        alone = _alone(node, now)
        key = (alone.SerializeToString(deterministic=True), following)
        if key not in self.converted:
            self.converted[key] = _becomes(node, alone, now, following)
        return self.converted[key]


def _becomes(node: ir.Node, alone: onnx.ModelProto, now: int, following: int) -> _Becomes | str:
    """What ``node`` becomes in opset ``following``, or why it cannot be converted."""
    before, after = _schema(node.op_type, now), _schema(node.op_type, following)
    if before is None:
        return f"opset {now} has no such operator"
    try:
        done = version_converter.convert_version(alone, following).graph
    except Exception as failure:  # the converter asserts; what it says is C++, then a sentence
        why = re.split(r"failed: ", str(failure).strip())[-1].split("\n")[0].rstrip(".")
    else:
        return _settled(done, alone, following)
    if after is not None and node.op_type not in CHANGED_MEANING and _same_form(before, after):
        return _settled(alone.graph, alone, following)
    # A definition as a function is in the words of its own opset, which the next step converts.
    if following < now and (body := _body(node, alone, before)) is not None:
        return _Becomes(graph=body, at=now)
    return misfit(node, following) or why


def _settled(graph: onnx.GraphProto, alone: onnx.ModelProto, version: int) -> _Becomes:
    """``graph`` without what opset ``version`` has no word for where it says nothing new."""
    settled = onnx.GraphProto()
    settled.CopyFrom(graph)
    for node in settled.node:
        schema = _schema(node.op_type, version)
        kept = [
            attribute
            for attribute in node.attribute
            if schema is None
            or attribute.name in schema.attributes
            or not _goes_without_saying(node, attribute, alone)
        ]
        del node.attribute[:]
        node.attribute.extend(kept)
    same = _equal(settled.node, alone.graph.node)
    return _Becomes(graph=None if same else settled, at=version)


def _goes_without_saying(
    node: onnx.NodeProto, attribute: onnx.AttributeProto, alone: onnx.ModelProto
) -> bool:
    if node.op_type == "Reshape" and attribute.name == "allowzero":
        # It says what a zero in the target means; with none in it, it says nothing.
        targets = [one for one in alone.graph.initializer if one.name in node.input[1:]]
        if targets and 0 not in onnx.numpy_helper.to_array(targets[0]):
            return True
    return UNSAID.get(attribute.name) == attribute.i


def _body(
    node: ir.Node, alone: onnx.ModelProto, schema: onnx.defs.OpSchema
) -> onnx.GraphProto | None:
    """The function of other operators that ``node`` is defined as, if it is."""
    if not (schema.has_function or schema.has_context_dependent_function):  # type: ignore[attr-defined]
        return None
    typed = onnx.ModelProto()
    typed.CopyFrom(alone)
    for weight in alone.graph.initializer:
        typed.graph.input.append(
            onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        )
    expanded = inliner.inline_selected_functions(
        typed, [("", node.op_type)], inline_schema_functions=True
    )
    if _equal(expanded.graph.node, alone.graph.node):
        return None
    return shape_inference.infer_shapes(expanded).graph


def _schema(operator: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        schema = onnx.defs.get_schema(operator, version, "")
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def _same_form(before: onnx.defs.OpSchema, after: onnx.defs.OpSchema) -> bool:
    """Whether two definitions differ in types, and in what may be left unsaid, alone."""
    for ours, theirs in ((before.inputs, after.inputs), (before.outputs, after.outputs)):
        if any(one.name != other.name for one, other in zip(ours, theirs, strict=False)):
            return False
    return all(
        before.attributes[name].default_value == one.default_value
        for name, one in after.attributes.items()
        if name in before.attributes
    )


def _alone(node: ir.Node, version: int) -> onnx.ModelProto:
    """A model of ``node`` alone, its inputs and outputs named by number."""
    made = ir.serde.serialize_node(node)
    inputs, weights = [], []
    for at, value in enumerate(node.inputs):
        made.input[at] = "" if value is None else f"in{at}"
        setting = constant_of(value, LONGEST_SETTING)
        if value is None:
            continue
        if setting is not None and setting.dtype.kind not in "OSU":  # text is no setting
            weights.append(ir.serde.serialize_tensor(ir.tensor(setting, name=f"in{at}")))
            continue
        info = ir.serde.serialize_value(value)
        inputs.append(onnx.ValueInfoProto(name=f"in{at}", type=info.type))
    for at, value in enumerate(node.outputs):
        made.output[at] = f"out{at}" if value.name else ""
    plain = onnx.NodeProto(op_type=made.op_type, input=made.input, output=made.output)
    plain.attribute.extend(made.attribute)
    outputs = [onnx.ValueInfoProto(name=name) for name in made.output if name]
    return onnx.helper.make_model(
        onnx.helper.make_graph([plain], node.op_type, inputs, outputs, weights),
        opset_imports=[onnx.helper.make_opsetid("", version)],
        ir_version=onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", version)]),
    )


def _equal(nodes: Sequence[onnx.NodeProto], others: Sequence[onnx.NodeProto]) -> bool:
    """Whether both are one node of one operator, with equal inputs and attributes."""
    if len(nodes) != 1 or len(others) != 1:
        return False
    one, other = nodes[0], others[0]
    return (
        (one.op_type, list(one.input), list(one.output))
        == (other.op_type, list(other.input), list(other.output))
    ) and sorted(map(repr, one.attribute)) == sorted(map(repr, other.attribute))


def _transplant(
    proto: onnx.GraphProto, node: ir.Node, graph: ir.Graph | ir.Function
) -> list[ir.Node]:
    """Put the nodes of ``proto`` in the place of ``node``; the new nodes."""
    made = ir.serde.deserialize_graph(proto)
    stem = str(node.outputs[0].name)
    given = {f"in{at}": value for at, value in enumerate(node.inputs) if value is not None}
    for value in (*made.inputs, *list(made.initializers.values())):
        actual = given.get(str(value.name))
        if actual is None and value.const_value is not None and isinstance(graph, ir.Graph):
            actual = add_weight(graph, f"{stem}_{value.name}", value.const_value.numpy())
        if actual is not None:
            ir.convenience.replace_all_uses_with(value, actual)
    new, outputs = list(made), list(made.outputs)
    made.outputs.clear()
    made.remove(new)
    for one in new:
        one.name = node.name if len(new) == 1 else None
        for value in one.outputs:
            value.name = f"{stem}_{value.name}" if value.name else value.name
            value.shape = None  # names of unknown sizes are this node's alone, and would clash
    old = [value for value in node.outputs if value.name]
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, old, outputs)
    return new


def _refusal(node: ir.Node, current: int, version: int, why: str) -> str:
    return (
        f"{node.op_type} {node_label(node)!r} cannot be converted from opset {current} to "
        f"{version}: {why}"
    )
