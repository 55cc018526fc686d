"""Decoders' attention, with rotary positions and a cache of keys, in ONNX Runtime's operators.

The fusions are the ONNX project's (``onnxscript.rewriter.ort_fusions``), in its order. They go by
way of operators that nothing runs, so they stand together or not at all.
"""

from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.rewriter import pattern
from onnxscript.rewriter.ort_fusions.cos_sin_cache import cos_sin_cache_rules
from onnxscript.rewriter.ort_fusions.gqa import gqa_rules
from onnxscript.rewriter.ort_fusions.mha import mha_rules_no_past, mha_rules_with_past
from onnxscript.rewriter.ort_fusions.rotary_embedding import (
    partial_embedding_rules,
    rotary_embedding_rules,
)
from onnxscript.rewriter.ort_fusions.sdpa import SDPA

from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.matching.patterns import apply_patterns
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.size_inference import KnownSizes

#: The domain of operators that only lead from one fusion to the next.
BETWEEN = "ai.onnxruntime._fusion"


class OrtDecoder(Rule):
    """Rotary positions and the cache are read and written inside the attention's kernel."""

    name = "ort-decoder"
    requires = (
        "attention in float32 whose queries and keys are rotated by position, or whose keys and "
        "values are appended to a cache, in a form that ONNX's own fusions for ONNX Runtime know"
    )
    ensures = "RotaryEmbedding and MultiHeadAttention or GroupQueryAttention compute it"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fuse every such attention, or none."""
        operators = {node.op_type for node in model.graph}
        if "Softmax" not in operators or not any(map(_may_be_decoder, model.graph)):
            return
        copy = model.clone()
        before = len(ledger.firings)
        apply_patterns(copy, ledger, rotary_embedding_rules.rules, "rotates by position")
        if len(ledger.firings) == before and not any(map(_is_cached, model.graph)):
            return
        _name_sizes(copy)
        _fuse(copy, ledger)
        left = [node for node in copy.graph.all_nodes() if node.domain == BETWEEN]
        if left:
            del ledger.firings[before:]
            ledger.miss(left, "is attention, but in no form that ONNX Runtime has an operator for")
        elif len(ledger.firings) > before:
            copy.graph.opset_imports.pop(BETWEEN, None)
            model.graph = copy.graph


class _Attention(SDPA):
    """Attention without a guard against masked rows: it may be there because they occur."""

    def check(self, op: Any, *args: Any, **bindings: Any) -> Any:  # type: ignore[override]
        """Whether sizes fit and there is no guard; ``op`` is the match that was found."""
        if any(node.op_type == "IsNaN" for node in op.nodes):
            return pattern.MatchResult().fail("a guard against masked rows is between")
        return super().check(op, *args, **bindings)


def _fuse(model: ir.Model, ledger: Ledger) -> None:
    attention: Any = _Attention
    apply_patterns(model, ledger, cos_sin_cache_rules.rules, "has its angles in a table")
    common.CommonSubexpressionEliminationPass()(model)
    apply_patterns(model, ledger, partial_embedding_rules.rules, "rotates a part of each head")
    apply_patterns(model, ledger, [attention.rule()], "is attention")
    if not any(node.domain == BETWEEN for node in model.graph):
        return
    infer_shapes(model)
    for rules in (gqa_rules, mha_rules_with_past, mha_rules_no_past):
        apply_patterns(model, ledger, rules.rules, "is attention with its heads, and its cache")


def _may_be_decoder(node: ir.Node) -> bool:
    """Whether ``node`` negates one half of its input, or appends to a cache, as decoders do."""
    if node.op_type != "Neg" or node.domain != "" or node.inputs[0] is None:
        return _is_cached(node)
    made = node.inputs[0].producer()
    return made is not None and made.op_type in ("Slice", "Split")


def _is_cached(node: ir.Node) -> bool:
    """Whether ``node`` appends to what a caller gives, of four axes."""
    if node.op_type != "Concat" or node.domain != "" or node.inputs[0] is None:
        return False
    return node.inputs[0].is_graph_input() and len(node.inputs[0].shape or ()) == 4


def _name_sizes(model: ir.Model) -> None:
    """Give every size that has no name one, as its own or as it is known.

    The fusions take two sizes without a name for equal.
    """
    known, number = KnownSizes(model), 0
    for node in model.graph:
        for value in node.outputs:
            if value.shape is None or value.is_graph_output():
                continue
            found = known.shape(value) or (None,) * len(value.shape)
            for axis, size in enumerate(value.shape):
                if not isinstance(size, int) and size.value is None:
                    number += 1
                    wanted = found[axis]
                    value.shape[axis] = (
                        wanted if isinstance(wanted, int) else str(wanted or f"unknown_{number}")
                    )
