"""Which initialisers of a graph are weights, and which decide its shapes or its course."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.operators.dtypes import is_floating
from lepton_ai.operators.operator import Meaning, meanings

#: Inputs that are statistics of the training data, not trained: their names in the meaning's order.
_STATISTICS = {("", "BatchNormalization"): (3, 4)}
#: Operators whose outputs are known before the graph runs, whatever they read.
_TELL_SIZES = frozenset({"Shape", "Size", "Constant"})


@dataclass(frozen=True, kw_only=True)
class Lifted:
    """The initialisers by name: float ``weights``, and ``constants``; ``statistics`` are weights.

    A float without axes is a number of a formula, and as constant as an integer is. Texts are in
    neither, nor are names that several subgraphs have: they are not one value.
    """

    weights: Mapping[str, np.ndarray[Any, Any]]
    constants: Mapping[str, np.ndarray[Any, Any]]
    statistics: Set[str]


def lift(model: ir.Model) -> Lifted:
    """The initialisers of ``model`` and of its subgraphs, told apart by what reads them."""
    reader = _Reader(model)
    counts = Counter(name for graph in model.graphs() for name in graph.initializers)
    weights, constants, statistics = {}, {}, set()
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if counts[name] > 1 or tensor is None or tensor.dtype == ir.DataType.STRING:
                continue
            array = tensor.numpy()
            if is_floating(array.dtype) and array.ndim and not reader.decides(value):
                weights[name] = array
                if reader.is_statistic(value):
                    statistics.add(name)
            else:
                constants[name] = array
    return Lifted(weights=weights, constants=constants, statistics=statistics)


class _Reader:
    """What the nodes of a model do with its values."""

    def __init__(self, model: ir.Model) -> None:
        self._functions = model.functions
        self._meanings = meanings()
        self._decides: dict[ir.Value, bool] = {}
        self._known: dict[ir.Value, bool] = {}

    def decides(self, value: ir.Value) -> bool:
        """Whether ``value``, or what is computed from it beforehand, is needed beforehand."""
        if value not in self._decides:
            self._decides[value] = False  # for graphs that run in circles, which none should
            self._decides[value] = any(
                self._decides_in(node, place) for node, place in value.uses()
            )
        return self._decides[value]

    def is_statistic(self, value: ir.Value) -> bool:
        """Whether every node that reads ``value`` takes it for a statistic."""
        uses = value.uses()
        return bool(uses) and all(
            place in _STATISTICS.get((_domain(node), node.op_type), ()) for node, place in uses
        )

    def _decides_in(self, node: ir.Node, place: int) -> bool:
        function = self._functions.get(node.op_identifier())
        if function is not None:
            return place < len(function.inputs) and self.decides(function.inputs[place])
        meaning = self._meanings.get((_domain(node), node.op_type))
        if meaning is None:
            return False
        if meaning.parameter(place) in meaning.host:
            return True
        return self._is_known(node, meaning) and any(map(self.decides, node.outputs))

    def _is_known(self, node: ir.Node, meaning: Meaning) -> bool:
        """Whether all that ``node`` reads is known before the graph runs."""
        if node.op_type in _TELL_SIZES:
            return True
        return not meaning.as_is and all(
            value is None or meaning.parameter(place) in meaning.host or self._is_known_value(value)
            for place, value in enumerate(node.inputs)
        )

    def _is_known_value(self, value: ir.Value) -> bool:
        if value not in self._known:
            self._known[value] = False
            self._known[value] = self._is_computed_beforehand(value)
        return self._known[value]

    def _is_computed_beforehand(self, value: ir.Value) -> bool:
        if value.is_initializer() and not value.is_graph_input():
            return True
        node = value.producer()
        meaning = None if node is None else self._meanings.get((_domain(node), node.op_type))
        return node is not None and meaning is not None and self._is_known(node, meaning)


def _domain(node: ir.Node) -> str:
    return "" if node.domain == "ai.onnx" else node.domain
