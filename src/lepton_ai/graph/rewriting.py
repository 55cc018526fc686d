"""The frame around every rewrite rule: read, apply, check the interface, write.

A rule is a function that changes an ``onnx_ir`` graph in place and says in sentences what it did.
The frame guarantees what callers bind to: the inputs and outputs keep their names, order, dtypes
and symbolic sizes, and a rule that did nothing leaves the graph exactly as it was.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir

from lepton_ai.errors import ModelError
from lepton_ai.formats.quiet import quiet
from lepton_ai.graph.onnx_file import load_graph, operator_counts, save_graph
from lepton_ai.graph.rewrite import Rewritten

Rule = Callable[[ir.Model], tuple[str, ...]]
Declared = tuple[str | None, ir.DataType | None, ir.Shape | None]


def rewrite_file(name: str, source: Path, target: Path, rule: Rule) -> Rewritten:
    """Apply ``rule`` to the graph in ``source`` and write the result to ``target``.

    Raises:
        ModelError: the rule failed on this graph or changed its inputs or outputs.
    """
    model = load_graph(source)
    before = operator_counts(model).total()
    inputs, outputs = _kept(_free_inputs(model)), _kept(model.graph.outputs)
    with quiet():
        try:
            fired = rule(model)
        except Exception as failure:  # the optimisers under this raise whatever they happen to
            raise ModelError(f"rewrite {name!r} failed on {source.name}: {failure}") from failure
    if not fired:
        save_graph(load_graph(source), target)
        return Rewritten(nodes_before=before, nodes_after=before, fired=())
    _restore(name, _free_inputs(model), inputs)
    _restore(name, model.graph.outputs, outputs)
    save_graph(model, target)
    return Rewritten(nodes_before=before, nodes_after=operator_counts(model).total(), fired=fired)


def differences(before: Counter[str], after: Counter[str]) -> tuple[str, ...]:
    """What became of the operators, one sentence per operator that there are fewer or more of."""
    fewer, more = before - after, after - before
    return (
        *(f"{count} x {operator} removed" for operator, count in sorted(fewer.items())),
        *(f"{count} x {operator} put in place" for operator, count in sorted(more.items())),
    )


def _free_inputs(model: ir.Model) -> list[ir.Value]:
    """The inputs that a caller gives; older files list weights among the inputs as well."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def _kept(values: Sequence[ir.Value]) -> list[Declared]:
    return [(value.name, value.dtype, value.shape) for value in values]


def _restore(name: str, values: Sequence[ir.Value], declared: Sequence[Declared]) -> None:
    """Give inputs or outputs their declared shapes back; raise if names or dtypes changed."""
    wanted = [(value_name, str(dtype)) for value_name, dtype, _ in declared]
    came = [(value.name, str(value.dtype)) for value in values]
    if came != wanted:
        raise ModelError(
            f"rewrite {name!r} turned {wanted} into {came}, and inputs and outputs must stay"
        )
    for value, (_, _, shape) in zip(values, declared, strict=True):
        value.shape = shape
