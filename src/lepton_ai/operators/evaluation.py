"""A graph run node by node with an array library, by the table of what its operators mean."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.libraries import Libraries
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, Meaning, meanings

Scope = dict[str, Any]
#: The attributes of a function's caller, by name.
References = Mapping[str, Any]

#: Attributes of opset 1 that allowed a kernel to write into its inputs.
_MEANINGLESS = frozenset({"consumed_inputs"})


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A node, with all that can be worked out before it runs.

    ``attributes`` are ``None`` where some are the caller's; ``last`` are values that nobody needs
    once the node has run.
    """

    node: ir.Node
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...]
    attributes: Mapping[str, Any] | None
    opset: int
    meaning: Meaning | None
    on_host: tuple[bool, ...]
    function: ir.Function | None


class Evaluation:
    """One graph and the library it runs with.

    ``weights`` takes the place of initialisers of the same names: parameters that are trained, or
    arrays that are passed in rather than compiled in.

    Raises:
        EngineError: an operator has no meaning here; the message names its node.
    """

    def __init__(
        self, model: ir.Model, namespace: Namespace, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        self._model = model
        self._libraries = Libraries(namespace)
        self._weights: Mapping[str, Tensor] = {} if weights is None else weights
        for node, reason in unknown(model):
            raise EngineError(f"{_label(node)}: {reason}")
        self._steps: dict[int, tuple[_Step, ...]] = {}
        self._initial: dict[int, Scope] = {}

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name; values known beforehand come back as NumPy arrays.

        Raises:
            EngineError: a node failed; the message names it.
        """
        graph = self._model.graph
        given = [inputs.get(_name(value)) for value in graph.inputs]
        with np.errstate(all="ignore"):  # infinities and NaN are answers like others
            values = self._graph(graph, given, {}, self._model.opset_imports, {})
        return dict(zip([_name(value) for value in graph.outputs], values, strict=True))

    def _graph(
        self,
        graph: ir.Graph,
        inputs: Sequence[Any],
        outer: Scope,
        opsets: Mapping[str, int],
        references: References,
    ) -> list[Any]:
        scope = self._initialised(graph)
        for value, given in zip(graph.inputs, inputs, strict=False):
            if given is not None or _name(value) not in scope:
                scope[_name(value)] = given
        return self._nodes(graph, scope, outer, opsets, references)

    def _initialised(self, graph: ir.Graph) -> Scope:
        """The initialisers of ``graph``, read when they are first asked for.

        Those that ``weights`` has are asked for each time: who trains or traces exchanges them.
        """
        key, names = id(graph), graph.initializers
        if key not in self._initial:
            self._initial[key] = {
                name: _read(name, value)
                for name, value in names.items()
                if name not in self._weights
            }
        given = {name: self._weights[name] for name in names if name in self._weights}
        return {**self._initial[key], **given}

    def _nodes(
        self,
        graph: ir.Graph | ir.Function,
        scope: Scope,
        outer: Scope,
        opsets: Mapping[str, int],
        references: References,
    ) -> list[Any]:
        """Run the nodes in order; a value is let go after its last use."""
        for step in self._steps_of(graph, opsets):
            inputs = [
                None if name is None else _found(name, scope, outer, step.node)
                for name in step.inputs
            ]
            values = self._run(step, inputs, (scope, outer), opsets, references)
            for name, value in zip(step.outputs, values, strict=False):
                if name:
                    scope[name] = value
            for name in step.last:
                scope.pop(name, None)
        return [_found(_name(value), scope, outer, None) for value in graph.outputs]

    def _steps_of(
        self, graph: ir.Graph | ir.Function, opsets: Mapping[str, int]
    ) -> tuple[_Step, ...]:
        key = id(graph)
        if key not in self._steps:
            last = _last_uses(graph)
            self._steps[key] = tuple(
                self._step(node, names, opsets) for node, names in zip(graph, last, strict=True)
            )
        return self._steps[key]

    def _step(self, node: ir.Node, last: tuple[str, ...], opsets: Mapping[str, int]) -> _Step:
        function = self._model.functions.get(node.op_identifier())
        meaning = None if function is not None else meanings()[_domain(node), node.op_type]
        names = [None if value is None else _name(value) for value in node.inputs]
        referring = any(one.is_ref() for one in node.attributes.values())
        on_host = (
            ()
            if meaning is None
            else (meaning.parameter(place) in meaning.host for place in range(len(names)))
        )
        return _Step(
            node=node,
            inputs=tuple(names),
            outputs=tuple(_name(value) for value in node.outputs),
            last=last,
            attributes=None if referring else _attributes(node, {}),
            opset=_opset(node, opsets),
            meaning=meaning,
            on_host=tuple(on_host),
            function=function,
        )

    def _run(
        self,
        step: _Step,
        inputs: list[Any],
        scopes: tuple[Scope, Scope],
        opsets: Mapping[str, int],
        references: References,
    ) -> list[Any]:
        node, attributes = step.node, step.attributes
        if attributes is None:
            attributes = _attributes(node, references)
        if step.function is not None:
            return self._function(step.function, inputs, attributes)
        meaning = step.meaning
        assert meaning is not None  # a node without both is refused beforehand

        def evaluate(body: ir.Graph, given: Sequence[Any]) -> list[Any]:
            scope, outer = scopes
            return self._graph(body, given, {**outer, **scope}, opsets, references)

        def apply(xp: Namespace, values: list[Any]) -> list[Any]:
            call = Call(xp=xp, opset=step.opset, outputs=len(step.outputs), evaluate=evaluate)
            result = meaning.function(call, *values, **attributes)
            return list(result) if isinstance(result, tuple) else [result]

        try:
            return self._libraries.run(meaning, step.on_host, inputs, apply)
        except EngineError as failure:
            if str(failure).startswith(_label(node)) or " node " in str(failure):
                raise
            raise EngineError(f"{_label(node)}: {failure}") from failure
        except Exception as failure:  # the libraries raise whatever they happen to
            raise EngineError(f"{_label(node)}: {failure}") from failure

    def _function(
        self, function: ir.Function, inputs: Sequence[Any], attributes: Mapping[str, Any]
    ) -> list[Any]:
        given = [*inputs, *[None] * (len(function.inputs) - len(inputs))]
        scope = dict(zip([_name(value) for value in function.inputs], given, strict=True))
        defaults = {
            name: _plain(attribute)
            for name, attribute in function.attributes.items()
            if attribute.value is not None
        }
        return self._nodes(function, scope, {}, function.opset_imports, {**defaults, **attributes})


def _read(name: str, value: ir.Value) -> np.ndarray[Any, Any]:
    if value.const_value is None:
        raise EngineError(f"initialiser {name!r} has no value")
    return array_of(value.const_value)


def unknown(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """The nodes that cannot be evaluated, each with the reason."""
    table = meanings()
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            if node.op_identifier() in model.functions:
                continue
            meaning = table.get((_domain(node), node.op_type))
            if meaning is None:
                domain = node.domain or "ai.onnx"
                yield node, f"no operator {node.op_type} is known in domain {domain}"
            else:
                foreign = set(node.attributes) - meaning.attributes - _MEANINGLESS
                if foreign:
                    yield node, f"attribute {min(foreign)} is not known"
                if len(node.inputs) > meaning.most_inputs:
                    yield node, f"{len(node.inputs)} inputs, and it takes {meaning.most_inputs}"


def _domain(node: ir.Node) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def _opset(node: ir.Node, opsets: Mapping[str, int]) -> int:
    own = [node.domain, *(("", "ai.onnx") if _domain(node) == "" else ())]
    return next((opsets[domain] for domain in own if domain in opsets), 1)


def _name(value: ir.Value) -> str:
    return value.name or ""


def _label(node: ir.Node) -> str:
    return f"{node.op_type} node {node.name!r}"


def _found(name: str, scope: Scope, outer: Scope, node: ir.Node | None) -> Any:
    if name in scope:
        return scope[name]
    if name in outer:
        return outer[name]
    user = f" that {_label(node)} reads" if node is not None else ", an output,"
    raise EngineError(f"value {name!r}{user} has not been computed")


def _last_uses(graph: ir.Graph | ir.Function) -> list[tuple[str, ...]]:
    """For each node the values that no later one, no subgraph and no output needs."""
    nodes = list(graph)
    needed = {_name(value) for value in graph.outputs}
    for node in nodes:
        for attribute in node.attributes.values():
            for body in _bodies(attribute):
                needed |= {_name(v) for inner in body.all_nodes() for v in inner.inputs if v}
                needed |= {_name(value) for value in body.outputs}
    last = []
    for node in reversed(nodes):
        touched = {_name(v) for v in (*node.inputs, *node.outputs) if v is not None}
        last.append(tuple(touched - needed))
        needed |= touched
    return last[::-1]


def _attributes(node: ir.Node, references: References) -> dict[str, Any]:
    """The attributes as plain values; those of a function's caller by reference."""
    found = {}
    for name, attribute in node.attributes.items():
        if name in _MEANINGLESS:
            continue
        if not attribute.is_ref():
            found[name] = _plain(attribute)
        elif (own := attribute.ref_attr_name or "") in references:
            found[name] = references[own]
    return found


def _plain(attribute: ir.Attr) -> Any:
    """Numbers, texts and lists of them; tensors as NumPy arrays; graphs as they are."""
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return array_of(value)
    if attribute.type == ir.AttributeType.TENSORS:
        return [array_of(tensor) for tensor in value]
    return list(value) if isinstance(value, tuple) else value


def array_of(tensor: ir.TensorProtocol) -> np.ndarray[Any, Any]:
    """A tensor of a graph as a NumPy array; texts as an array of objects."""
    if isinstance(tensor, ir.StringTensor):
        texts = [text.decode() for text in tensor.string_data()]
        return np.array(texts, dtype=object).reshape(tensor.shape.numpy())
    return tensor.numpy()


def _bodies(attribute: ir.Attr) -> Sequence[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    if attribute.type == ir.AttributeType.GRAPHS:
        return list(attribute.as_graphs())
    return []
