"""A network in floating point and what a quantiser made of it, and what lies between the two.

Quantisers put pairs of ``QuantizeLinear`` and ``DequantizeLinear`` where a node reads what is
rounded or answers it, some a factor before them, and they correct constants. With its name a node
is found in both graphs; so it can be taken, with all that the quantiser did to it, from either.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnx import numpy_helper

from lepton_ai.errors import ModelError

#: They move values or cut them off: what they read is rounded in steps that their answer has too.
PASSES = frozenset(
    {
        *("Clip", "Flatten", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Split"),
        *("Squeeze", "Transpose", "Unsqueeze"),
    }
)
#: Before the names of what is copied from one graph into the other.
_ROUNDED, _EXACT = "rounded/", "exact/"


class Rounded:
    """``plain`` as :func:`~lepton_ai.compress.graph_file.prepare` makes it, and its rounded twin.

    Both stay as they are.
    """

    def __init__(self, plain: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
        self._plain = plain
        self._quantised = quantised
        self._makers = _makers(quantised)
        self._exact_makers = _makers(plain)
        self._places = {node.name: place for place, node in enumerate(plain.graph.node)}
        self._twins = {node.name: place for place, node in enumerate(quantised.graph.node)}
        self._exact = {weight.name: weight for weight in plain.graph.initializer}
        self._weights = {weight.name: weight for weight in quantised.graph.initializer}
        self._rounded_next = {
            node.input[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear"
        }
        self._answers = {value.name for value in plain.graph.output}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The nodes that are in both graphs, and read or answer rounded values in one of them.

        Without those of :data:`PASSES` whose answer is rounded again: their readers stand for them.
        """
        return tuple(
            node.name
            for node in self._plain.graph.node
            if node.name in self._twins
            and (
                self._rounds_an_answer(node)
                or (self._is_rounded(node) and not self._passes_on(node))
            )
        )

    @contextmanager
    def only(self, name: str) -> Iterator[onnx.ModelProto]:
        """The graph in floating point, but for what the quantiser did to the node ``name``.

        While this lasts, ``plain`` is that graph.
        """
        graph = self._plain.graph
        place = self._places[name]
        node = graph.node[place]
        before = onnx.NodeProto()
        before.CopyFrom(node)
        opsets, weights = len(self._plain.opset_import), len(graph.initializer)
        known = {each.domain for each in self._plain.opset_import}
        added = [each for each in self._quantised.opset_import if each.domain not in known]
        copied: dict[str, onnx.NodeProto] = {}
        del node.attribute[:]
        node.attribute.extend(self._twin(name).attribute)
        for number, tensor in enumerate(self._twin(name).input):
            if self._differs(before.input[number], tensor):
                node.input[number] = self._carry(tensor, copied)
        after = self._rounded_answers(node, copied)
        made = [*copied.values()]
        first = [each for each in made if each not in after]
        try:
            self._plain.opset_import.extend(added)
            for each in reversed(after):
                graph.node.insert(place + 1, each)
            for each in reversed(first):
                graph.node.insert(place, each)
            yield self._plain
        finally:
            del graph.node[place + len(first) + 1 : place + len(first) + 1 + len(after)]
            del graph.node[place : place + len(first)]
            graph.node[place].CopyFrom(before)
            del graph.initializer[weights:], self._plain.opset_import[opsets:]

    def without(self, names: Collection[str]) -> onnx.ModelProto:
        """The quantised graph, with the nodes ``names`` as they are in floating point.

        Raises:
            ModelError: one of them is not among :attr:`names`.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._quantised)
        for name in names:
            if name not in self.names:
                raise ModelError(f"the quantised graph has no node {name!r} that reads int8")
            self._put_back(name, model)
        return _without_unused(model)

    def _put_back(self, name: str, model: onnx.ModelProto) -> None:
        plain = self._plain.graph.node[self._places[name]]
        node = model.graph.node[self._twins[name]]
        del node.attribute[:]
        node.attribute.extend(plain.attribute)
        self._put_weights_back(plain, node, model)
        for number, tensor in enumerate(self._twin(name).input):
            exact = plain.input[number]
            if exact not in self._exact and self._differs(exact, tensor):
                node.input[number] = self._restored(exact, model)
        for bias, number in self._corrected(plain.output[0]):
            place = self._twins[bias]
            exact = self._plain.graph.node[self._places[bias]].input[number]
            model.graph.node[place].input[number] = self._put_weight(exact, model)
        for number, answer in enumerate(plain.output):
            if self._makes_rounded(answer):
                _answer_directly(model, node, number, answer)

    def _put_weights_back(
        self, plain: onnx.NodeProto, node: onnx.NodeProto, model: onnx.ModelProto
    ) -> None:
        for number, tensor in enumerate(self._twin(plain.name).input):
            exact = plain.input[number]
            if exact in self._exact and self._differs(exact, tensor):
                node.input[number] = self._put_weight(exact, model)

    def _restored(self, tensor: str, model: onnx.ModelProto) -> str:
        """The activation ``tensor`` of the graph in floating point, as it is called in ``model``.

        What only moves values on the way to it rounds them as well, and is put back; where a Relu
        was dropped, because rounding cuts off as much, it is put in again.
        """
        maker = self._exact_makers.get(tensor)
        if maker is None:
            return tensor
        number = list(maker.output).index(tensor)
        if maker.name not in self._twins:
            return self._put_in(maker, number, model)
        if maker.op_type in PASSES and self._is_rounded(maker):
            self._put_back(maker.name, model)
        return str(model.graph.node[self._twins[maker.name]].output[number])

    def _put_in(self, maker: onnx.NodeProto, number: int, model: onnx.ModelProto) -> str:
        name = _EXACT + maker.name
        if all(node.name != name for node in model.graph.node):
            node = onnx.NodeProto()
            node.CopyFrom(maker)
            node.name = name
            node.input[0] = self._restored(maker.input[0], model)
            for place, each in enumerate(node.input[1:], start=1):
                if each in self._exact:
                    node.input[place] = self._put_weight(each, model)
            node.output[:] = [_EXACT + each for each in maker.output]
            model.graph.node.append(node)
        return f"{_EXACT}{maker.output[number]}"

    def _corrected(self, product: str) -> list[tuple[str, int]]:
        """The addition after a product, where the quantiser has corrected its constant."""
        readers = [node for node in self._plain.graph.node if product in node.input]
        if len(readers) != 1 or readers[0].op_type != "Add" or readers[0].name not in self._twins:
            return []
        twin = self._twin(readers[0].name)
        return [
            (twin.name, number)
            for number, name in enumerate(readers[0].input)
            if name in self._exact
            and twin.input[number] in self._weights
            and self._differs(name, twin.input[number])
        ]

    def _put_weight(self, name: str, model: onnx.ModelProto) -> str:
        """The weight ``name`` of the graph in floating point, brought into ``model``."""
        copy = _EXACT + name
        if all(weight.name != copy for weight in model.graph.initializer):
            weight = model.graph.initializer.add()
            weight.CopyFrom(self._exact[name])
            weight.name = copy
        return copy

    def _is_rounded(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` reads rounded values, and can be told apart from what does not."""
        if node.name not in self._twins:
            return False
        twin = self._twin(node.name)
        if twin.op_type != node.op_type or len(twin.input) != len(node.input):
            return False
        pairs = list(zip(node.input, twin.input, strict=True))
        if not any(self._rounds(tensor) for _, tensor in pairs):
            return False
        return all(self._is_made_of(*pair) for pair in pairs if self._differs(*pair))

    def _passes_on(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` only moves values, which are rounded once more after it."""
        return node.op_type in PASSES and any(
            tensor in self._rounded_next for tensor in self._twin(node.name).output
        )

    def _is_made_of(self, exact: str, tensor: str) -> bool:
        """Whether ``tensor`` stands for ``exact`` and nothing else: some drop a Relu between."""
        if exact in self._exact:
            return not self._sources(tensor)
        maker = self._exact_makers.get(exact)
        while maker is not None and maker.name not in self._twins and maker.op_type in PASSES:
            exact = maker.input[0]
            maker = self._exact_makers.get(exact)
        gone = maker is not None and maker.name not in self._twins
        return self._sources(tensor) == {exact} and not gone

    def _rounds_an_answer(self, node: onnx.NodeProto) -> bool:
        twin = self._twin(node.name)
        same = twin.op_type == node.op_type and len(twin.input) == len(node.input)
        return same and any(map(self._makes_rounded, node.output))

    def _makes_rounded(self, answer: str) -> bool:
        """Whether the network's output ``answer`` is rounded after the node that makes it."""
        return answer in self._answers and self._rounds(answer)

    def _rounded_answers(
        self, node: onnx.NodeProto, copied: dict[str, onnx.NodeProto]
    ) -> list[onnx.NodeProto]:
        """The nodes that round the outputs of ``node``; it makes the exact ones beside them."""
        after: list[onnx.NodeProto] = []
        for number, answer in enumerate(node.output):
            if not self._makes_rounded(answer):
                continue
            exact = _EXACT + answer
            held = dict(copied)
            made = self._carry(answer, held, {answer: exact})
            fresh = [each for name, each in held.items() if name not in copied]
            copied.update(held)
            fresh[-1].output[list(fresh[-1].output).index(made)] = answer
            node.output[number] = exact
            after += fresh
        return after

    def _twin(self, name: str) -> onnx.NodeProto:
        node: onnx.NodeProto = self._quantised.graph.node[self._twins[name]]
        return node

    def _differs(self, exact: str, tensor: str) -> bool:
        """Whether the quantiser did anything to what a node reads."""
        if self._is_added(tensor):
            return True
        if exact in self._exact and tensor in self._weights:
            return not _same(self._exact[exact], self._weights[tensor])
        return False

    def _rounds(self, tensor: str) -> bool:
        """Whether a weight or an activation in floating point was rounded into ``tensor``."""
        maker = self._makers.get(tensor)
        if maker is None or maker.op_type != "DequantizeLinear":
            return False
        before = self._makers.get(maker.input[0])
        return maker.input[0] in self._weights or (
            before is not None and before.op_type == "QuantizeLinear"
        )

    def _is_added(self, tensor: str) -> bool:
        """Whether the quantiser put in the node that makes ``tensor``."""
        return tensor in self._makers and self._makers[tensor].name not in self._places

    def _sources(self, tensor: str) -> set[str]:
        """The activations that ``tensor`` is made of by what the quantiser put in."""
        if not tensor or tensor in self._weights:
            return set()
        if self._is_added(tensor):
            return set().union(*map(self._sources, self._makers[tensor].input))
        return {self._in_plain(tensor)}

    def _in_plain(self, tensor: str) -> str:
        """An activation's name in the graph in floating point; quantisers rename some."""
        maker = self._makers.get(tensor)
        if maker is None:  # an input of the network
            return tensor
        twin = self._plain.graph.node[self._places[maker.name]]
        return str(twin.output[list(maker.output).index(tensor)])

    def _carry(
        self,
        tensor: str,
        copied: dict[str, onnx.NodeProto],
        renamed: dict[str, str] | None = None,
    ) -> str:
        """``tensor`` with all that the quantiser made it of, for the graph in floating point.

        The nodes go into ``copied``, the weights into the graph; ``renamed`` says what activations
        are called there.
        """
        name = _ROUNDED + tensor
        if tensor in self._weights:
            if all(weight.name != name for weight in self._plain.graph.initializer):
                weight = self._plain.graph.initializer.add()
                weight.CopyFrom(self._weights[tensor])
                weight.name = name
            return name
        if not self._is_added(tensor):
            exact = self._in_plain(tensor)
            return (renamed or {}).get(exact, exact)
        if name not in copied:
            node = onnx.NodeProto()
            node.CopyFrom(self._makers[tensor])
            node.input[:] = [
                self._carry(each, copied, renamed) if each else "" for each in node.input
            ]
            node.output[:] = [_ROUNDED + each for each in node.output]
            node.name = _ROUNDED + node.name
            copied[name] = node
        return name


def _makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output if name}


def _answer_directly(
    model: onnx.ModelProto, node: onnx.NodeProto, number: int, answer: str
) -> None:
    """Let ``node`` make the network's output ``answer`` itself, and not what rounds it after."""
    before = node.output[number]
    for each in model.graph.node:
        for place, tensor in enumerate(each.output):
            if tensor == answer:
                each.output[place] = _ROUNDED + answer
        for place, tensor in enumerate(each.input):
            if tensor == before:
                each.input[place] = answer
    node.output[number] = answer


def _same(one: onnx.TensorProto, other: onnx.TensorProto) -> bool:
    return np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))


def _without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` in order, without the nodes and weights that nothing reads any more."""
    ordered = passes.TopologicalSortPass()(ir.from_proto(model)).model
    return ir.to_proto(passes.RemoveUnusedNodesPass()(ordered).model)
