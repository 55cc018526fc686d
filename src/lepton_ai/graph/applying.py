"""One rule applied to one graph, with what every rule may rely on before and must keep after."""

from collections.abc import Sequence, Set

import onnx_ir as ir
from onnx_ir.passes import common

from lepton_ai.errors import ModelError
from lepton_ai.formats.quiet import quiet
from lepton_ai.graph.rule import Ledger, Rule

_Declared = tuple[str | None, ir.DataType | None, ir.Shape | None]


def apply_rule(
    model: ir.Model,
    rule: Rule,
    denied: Set[str] = frozenset(),
    only: frozenset[str] | None = None,
) -> Ledger:
    """Apply ``rule`` to ``model`` in place; what it did.

    It leaves the sites in ``denied``, and all but those in ``only`` if that is given. Shapes must
    be inferred; afterwards names are unique, nodes are in order, and what nothing reads is gone.
    Inputs and outputs keep their names, order, dtypes and declared shapes.

    Raises:
        ModelError: the rule failed on this graph or changed its inputs or outputs.
    """
    ledger = Ledger(rule=rule.name, denied=frozenset(denied), only=only)
    inputs, outputs = _declared(free_inputs(model)), _declared(model.graph.outputs)
    with quiet():
        try:
            rule.apply(model, ledger)
            if ledger.firings:
                _tidy(model)
        except Exception as failure:  # the optimisers under this raise whatever they happen to
            raise ModelError(f"rewrite rule {rule.name!r} failed: {failure}") from failure
    _restore(rule.name, free_inputs(model), inputs)
    _restore(rule.name, model.graph.outputs, outputs)
    return ledger


def free_inputs(model: ir.Model) -> list[ir.Value]:
    """The inputs that a caller gives; older files list weights among the inputs as well."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def _declared(values: Sequence[ir.Value]) -> list[_Declared]:
    """What a caller knows of ``values``: names, dtypes and shapes."""
    return [(value.name, value.dtype, value.shape) for value in values]


def _tidy(model: ir.Model) -> None:
    ir.passes.Sequential(
        common.OutputFixPass(),
        common.RemoveUnusedNodesPass(),
        common.NameFixPass(),
        common.TopologicalSortPass(),
    )(model)


def _restore(name: str, values: Sequence[ir.Value], wanted: Sequence[_Declared]) -> None:
    """Give inputs or outputs their declared shapes back; raise if names or dtypes changed."""
    before = [(value_name, str(dtype)) for value_name, dtype, _ in wanted]
    after = [(value.name, str(value.dtype)) for value in values]
    if after != before:
        raise ModelError(
            f"rewrite rule {name!r} turned {before} into {after}; inputs and outputs must stay"
        )
    for value, (_, _, shape) in zip(values, wanted, strict=True):
        value.shape = shape
