"""Checks on the use of operators: which there are, and what each is given.

The ONNX project's own checker is not used, because it refuses operators that it has no schema for
(``com.microsoft``), which ONNX Runtime runs well. What is refused here, ONNX Runtime refuses too.
"""

from collections import ChainMap
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.defs import OpSchema

from lepton_ai.errors import ModelError
from lepton_ai.formats.onnx_graph import all_nodes, called, subgraphs

#: Domains whose operators OpenVINO knows and nobody publishes ONNX schemas for.
_OPENVINO_DOMAIN = "org.openvinotoolkit"
_STANDARD = {"", "ai.onnx"}
#: Weights above this many bytes say nothing about shapes.
_LARGE = 1024

#: From this count on, an operator takes any number.
_ANY = 2**31 - 1
#: ONNX's dtypes as its schemas write them, by number.
_DTYPES = {
    number: f"tensor({name.lower()})" for name, number in TensorProto.DataType.items() if number
}
#: An attribute's type as schemas name it, to the number that nodes carry.
_KINDS = {
    getattr(OpSchema.AttrType, name): number
    for name, number in AttributeProto.AttributeType.items()
    if number != AttributeProto.UNDEFINED
}
_NAMES = frozenset(_DTYPES.values())


def check_operators(model: ModelProto) -> None:
    """Check every node in ``model``, those in subgraphs and functions too.

    Raises:
        ModelError: an operator that no engine has, or one that is given too few or too many inputs
            or an attribute of the wrong type; the message names the node.
    """
    functions = _functions(model)
    bodies: list[tuple[Iterable[NodeProto], Mapping[str, int]]] = [
        (model.graph.node, _opsets(model))
    ]
    bodies += [(function.node, _opsets(function)) for function in model.functions]
    for nodes, opsets in bodies:
        for node in all_nodes(nodes):
            if (node.domain, node.op_type) not in functions:
                operator = _operator(node, opsets)
                if operator is not None:
                    _check_counts(node, operator)
                    _check_attributes(node, operator)


def check_dtypes(model: ModelProto) -> None:
    """Compare the dtype of each value, where ONNX can infer it, with what its readers take.

    Raises:
        ModelError: a node reads or makes a dtype that it cannot; the message names the node.
    """
    inferred = _inferred(model)
    if inferred is None:
        return
    dtypes = _check_graph(inferred.graph, ChainMap(), _opsets(model), _functions(model))
    makers = {name: node for node in model.graph.node for name in node.output}
    for value in model.graph.output:
        declared = _DTYPES.get(value.type.tensor_type.elem_type)
        made = dtypes.get(value.name)
        if value.name in makers and declared and made and made != declared:
            raise ModelError(
                f"output {value.name!r} is declared {_short(declared)}, and "
                f"{called(makers[value.name])} makes it {_short(made)}; export again"
            )


def _functions(model: ModelProto) -> set[tuple[str, str]]:
    return {(function.domain, function.name) for function in model.functions}


@dataclass(frozen=True, kw_only=True)
class _Formal:
    """An input that an operator takes; inputs that name one dtype alike must be of one."""

    name: str
    dtypes: frozenset[str]
    alike: str | None
    needed: bool
    repeats: bool


@dataclass(frozen=True, kw_only=True)
class _Operator:
    """What ONNX says of an operator: how many it takes and gives, and its attributes' types."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    formals: tuple[_Formal, ...]
    attributes: Mapping[str, int]
    required: tuple[str, ...]


def _opsets(holder: ModelProto | FunctionProto) -> dict[str, int]:
    """Versions by domain, the standard one under ``""``."""
    return {
        "" if entry.domain in _STANDARD else entry.domain: entry.version
        for entry in holder.opset_import
    }


def _operator(node: NodeProto, opsets: Mapping[str, int]) -> _Operator | None:
    """What ONNX says of the node's operator; ``None`` if others than ONNX have it."""
    domain = "" if node.domain in _STANDARD else node.domain
    if domain == _OPENVINO_DOMAIN:
        return None
    version = opsets.get(domain, 1 if domain else 0)
    newest = onnx.defs.onnx_opset_version()
    if domain == "" and not 0 < version <= newest:
        raise ModelError(f"the model is written in opset {version}; 1 to {newest} can be read")
    try:
        return _look_up(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        if (domain, node.op_type) in _runtime_operators(version):
            return None
        raise ModelError(
            f"no engine has the custom operator of {called(node)} (opset {version}); replace it "
            "with standard operators, or export it as an ONNX function"
        ) from None
    except _WithdrawnError:
        raise ModelError(
            f"{called(node)} was withdrawn before opset {version}; export again"
        ) from None


class _WithdrawnError(Exception):
    """An operator that is no longer one."""


@cache
def _look_up(op_type: str, version: int, domain: str) -> _Operator:
    schema = onnx.defs.get_schema(op_type, version, domain)
    if schema.deprecated:
        raise _WithdrawnError
    option = OpSchema.FormalParameterOption
    return _Operator(
        inputs=(schema.min_input, schema.max_input),
        outputs=(schema.min_output, schema.max_output),
        formals=tuple(
            _Formal(
                name=formal.name,
                dtypes=frozenset(formal.types),
                alike=formal.type_str if formal.is_homogeneous else None,
                needed=formal.option == option.Single,
                repeats=formal.option == option.Variadic,
            )
            for formal in schema.inputs
        ),
        attributes={name: _KINDS[one.type] for name, one in schema.attributes.items()},
        required=tuple(name for name, one in schema.attributes.items() if one.required),
    )


@cache
def _runtime_operators(version: int) -> frozenset[tuple[str, str]]:
    """What ONNX Runtime has beyond the standard by opset ``version``, by domain and name."""
    try:
        from onnxruntime.capi import (  # type: ignore[import-untyped]
            onnxruntime_pybind11_state as state,
        )
    except ImportError:
        return frozenset()
    schemas: Iterable[Any] = state.get_all_operator_schema()
    return frozenset((one.domain, one.name) for one in schemas if one.since_version <= version)


def _check_counts(node: NodeProto, operator: _Operator) -> None:
    for role, given, (least, most) in (
        ("inputs", len(node.input), operator.inputs),
        ("outputs", len(node.output), operator.outputs),
    ):
        if not least <= given <= most:
            wanted = f"{least} to {most}" if least < most < _ANY else f"{least}"
            wanted = f"at least {least}" if most >= _ANY else wanted
            raise ModelError(f"{called(node)} has {given} {role}, and {wanted} are wanted")
    for formal, name in zip(operator.formals, node.input, strict=False):
        if not name and formal.needed:
            raise ModelError(f"{called(node)} is not given its input {formal.name!r}")


def _check_attributes(node: NodeProto, operator: _Operator) -> None:
    given = {attribute.name: attribute.type for attribute in node.attribute}
    for name, kind in given.items():
        wanted = operator.attributes.get(name, kind)
        if kind not in (wanted, AttributeProto.UNDEFINED):
            words = {number: word.lower() for word, number in AttributeProto.AttributeType.items()}
            raise ModelError(
                f"attribute {name!r} of {called(node)} is of type {words.get(kind)}, and "
                f"{words.get(wanted)} is wanted"
            )
    for name in operator.required:
        if name not in given:
            raise ModelError(f"{called(node)} lacks its attribute {name!r}")


def _inferred(model: ModelProto) -> ModelProto | None:
    """A copy of ``model`` with the types of its values, as far as ONNX can tell them."""
    skeleton = ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    skeleton.functions.extend(model.functions)
    target = skeleton.graph
    target.name = model.graph.name or "graph"
    target.node.extend(model.graph.node)
    target.input.extend(model.graph.input)
    target.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _LARGE and tensor.data_location != TensorProto.EXTERNAL:
            target.initializer.append(tensor)
        elif tensor.name not in declared:  # its dtype and shape tell enough
            target.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    try:
        return onnx.shape_inference.infer_shapes(skeleton)
    except (onnx.shape_inference.InferenceError, EncodeError, RuntimeError, ValueError):
        return None


def _check_graph(
    graph: GraphProto,
    around: ChainMap[str, str],
    opsets: Mapping[str, int],
    functions: Set[tuple[str, str]],
) -> ChainMap[str, str]:
    """Check one graph and those inside it; the dtypes of its values, by name."""
    dtypes = around.new_child(_dtypes(graph))
    for node in graph.node:
        operator = None
        if (node.domain, node.op_type) not in functions:
            operator = _operator(node, opsets)
        if operator is not None:
            _check_inputs(node, operator, dtypes)
        for inner in subgraphs(node):
            _check_graph(inner, dtypes, opsets, functions)
    return dtypes


def _dtypes(graph: GraphProto) -> dict[str, str]:
    """The dtypes of the values in ``graph``, as schemas write them: ``tensor(float)``."""
    numbers = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.HasField("tensor_type")
    }
    numbers |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: _DTYPES[number] for name, number in numbers.items() if number in _DTYPES}


def _check_inputs(node: NodeProto, operator: _Operator, dtypes: Mapping[str, str]) -> None:
    """Whether each input's dtype is one that the operator takes, and alike where it must be."""
    bound: dict[str, tuple[str, str]] = {}
    formals = list(operator.formals)
    if formals and formals[-1].repeats:
        formals += [formals[-1]] * (len(node.input) - len(formals))
    for formal, name in zip(formals, node.input, strict=False):
        dtype = dtypes.get(name)
        if dtype is None:
            continue
        if dtype not in formal.dtypes:
            allowed = ", ".join(sorted(_short(one) for one in formal.dtypes if one in _NAMES))
            raise ModelError(
                f"{called(node)} reads {name!r}, which is {_short(dtype)}, as its input "
                f"{formal.name!r}, which may be {allowed}"
            )
        if formal.alike is None:
            continue
        other, held = bound.setdefault(formal.alike, (name, dtype))
        if held != dtype:
            raise ModelError(
                f"{called(node)} reads {other!r}, which is {_short(held)}, and {name!r}, which is "
                f"{_short(dtype)}, and wants them alike; cast one of them"
            )


def _short(dtype: str) -> str:
    return dtype.removeprefix("tensor(").removesuffix(")")
