"""What is known, by number or by name, of every shape in a graph and of the shapes it computes.

ONNX's own inference forgets a size once it went through arithmetic on shapes; this follows it: the
contents of small integer tensors are kept as sizes, so that a Reshape to ``[batch, tokens, 12]``
has those sizes, whichever way its shape was computed.
"""

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.building import constant_of
from lepton_ai.graph.values.content_rules import CONTENT_RULES
from lepton_ai.graph.values.operands import MOST_NUMBERS, is_standard
from lepton_ai.graph.values.shape_rules import SHAPE_RULES
from lepton_ai.graph.values.sizes import Content, Size, Sizes, Symbolic, named, symbol


class KnownSizes:
    """Shapes and small integer contents of every value of a model, as it was at first."""

    def __init__(self, model: ir.Model) -> None:
        self._shapes: dict[ir.Value, Sizes | None] = {}
        self._contents: dict[ir.Value, Content | None] = {}
        self._local: dict[str, str] = {}
        self._bodies = 0
        self._visit(model.graph)

    def shape(self, value: ir.Value | None) -> Sizes | None:
        """The sizes of ``value``; ``None`` if not even their number is known."""
        if value is None:
            return None
        if value not in self._shapes:
            self._shapes[value] = self._declared(value)
        return self._shapes[value]

    def rank(self, value: ir.Value | None) -> int | None:
        """The number of axes of ``value``, if it is known."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def content(self, value: ir.Value | None) -> Content | None:
        """What ``value`` holds, if it is small, of integers, and something of it is known."""
        if value is None:
            return None
        if value not in self._contents:
            self._contents[value] = _constant(value)
        return self._contents[value]

    def items(self, value: ir.Value | None) -> Sizes | None:
        """The numbers that ``value`` holds, if it is a row of them."""
        content = self.content(value)
        return content.items if content is not None and content.rank == 1 else None

    def note(self, value: ir.Value, sizes: Sizes | None) -> None:
        """Note that ``value`` has these sizes from now on."""
        self._shapes[value] = sizes

    def carry(self, source: ir.Value, value: ir.Value) -> None:
        """Note that ``value`` has the shape of ``source`` from now on."""
        self.note(value, self.shape(source))

    def _visit(self, graph: ir.Graph) -> None:
        for value in graph.inputs:
            self.shape(value)
        for node in graph:
            inner = list(graphs_of(node))
            for subgraph in inner:
                self._enter(subgraph, is_body=not is_standard(node, "If"))
            if inner or node.domain not in ("", "ai.onnx"):
                for output in node.outputs:
                    self.shape(output)
            else:
                self._follow(node)

    def _enter(self, graph: ir.Graph, is_body: bool) -> None:
        """A body runs many times: a symbol of its inputs is another in each run, and not the one
        of that name outside.
        """
        outside = self._local
        if is_body:
            self._bodies += 1
            names = {
                size.value: f"{size.value}@{self._bodies}"
                for value in graph.inputs
                for size in value.shape or ()
                if not isinstance(size, int) and size.value
            }
            self._local = {**outside, **names}
        self._visit(graph)
        self._local = outside

    def _follow(self, node: ir.Node) -> None:
        infer = SHAPE_RULES.get(node.op_type)
        inferred = infer(node, self) if infer is not None else None
        for index, output in enumerate(node.outputs):
            declared = self._declared(output)
            if index == 0:
                declared = _merged(inferred, declared, trusted=not output.is_graph_output())
            self._shapes[output] = declared
        compute = CONTENT_RULES.get(node.op_type)
        if compute is None or len(node.outputs) != 1:
            return
        if node.outputs[0].dtype not in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL):
            return
        content = compute(node, self)
        if content is not None and len(content.items) <= MOST_NUMBERS:
            self._contents[node.outputs[0]] = content

    def _declared(self, value: ir.Value) -> Sizes | None:
        constant = ir.convenience.get_const_tensor(value) if value.const_value else None
        shape = constant.shape if constant is not None else value.shape
        if shape is None:
            return None
        # What a caller is told of an output is a label, given by hand as often as not.
        trusted = not value.is_graph_output()
        return tuple(
            (size if size >= 0 else None)  # files hold -1 for what is not known
            if isinstance(size, int)
            else (self._named(size.value) if trusted else None)
            for size in shape
        )

    def _named(self, name: str | None) -> Size | None:
        if not name:
            return None
        if name in self._local:
            return symbol(self._local[name])
        size = named(name)
        if self._local and isinstance(size, Symbolic):
            parts = {part for monomial, _ in size.terms for part in monomial}
            if any(part in self._local for part in parts):
                return symbol(f"{name}@{self._bodies}")
        return size


def _merged(inferred: Sizes | None, declared: Sizes | None, *, trusted: bool) -> Sizes | None:
    if inferred is None or declared is None:
        return declared if inferred is None else inferred
    if len(inferred) != len(declared):
        return declared if trusted else inferred
    return tuple(
        theirs if ours is None or (trusted and isinstance(theirs, int)) else ours
        for ours, theirs in zip(inferred, declared, strict=True)
    )


def _constant(value: ir.Value) -> Content | None:
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size > MOST_NUMBERS or len(tensor.shape) > 1:
        return None
    if tensor.dtype not in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL):
        return None
    held = constant_of(value)
    if held is None:
        return None
    return Content(held.ndim, tuple(int(one) for one in held.reshape(-1)))
