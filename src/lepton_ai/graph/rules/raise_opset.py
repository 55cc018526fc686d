"""The graph in a later opset, where that has an operator which the graph writes out.

``HardSwish`` came with opset 14, ``LayerNormalization`` with 17, ``Gelu`` with 20,
``RMSNormalization`` with 23; the engines take them all, and fuse in opset 23 what they fuse in 20.
``Swish`` (24) is no reason: ONNX Runtime 1.32 has no kernel and expands it into more nodes.
"""

from dataclasses import dataclass

import onnx_ir as ir
from onnx import defs, helper
from onnx_ir.passes import common
from onnxscript.version_converter import ConvertVersionPass

from lepton_ai.graph.matching.written_out import WrittenOut
from lepton_ai.graph.rule import Ledger, Rule, node_label
from lepton_ai.graph.rules.gelu import Gelu
from lepton_ai.graph.rules.hard_swish import HardSwish
from lepton_ai.graph.rules.layer_norm import LayerNorm
from lepton_ai.graph.rules.rms_norm import RmsNorm

#: The rules that need an opset.
NEEDING: tuple[type[WrittenOut], ...] = (HardSwish, LayerNorm, Gelu, RmsNorm)
#: Operators that the converter hands on as they are, and the opset in which their meaning changed.
CHANGED = {"Hardmax": 13, "Resize": 11, "Upsample": 11}
#: From this opset on GroupNormalization has a scale per channel; before, per group.
NORM_PER_CHANNEL = 21


class RaiseOpset(Rule):
    """An opset is a promise of what operators mean; later ones have more of them."""

    name = "raise-opset"
    requires = (
        "the graph writes out an operator that engines have kernels for and that only a later "
        "opset has, and every node can be converted"
    )
    ensures = "the graph is of the lowest opset that has all such operators"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Convert ``model`` once, if there is a reason to."""
        now = model.opset_imports.get("")
        if not now:
            return
        reasons = [rule for rule in NEEDING if rule.since > now and _has(model, rule)]
        if not reasons:
            return
        target = max(rule.since for rule in reasons)
        nodes = list(model.graph)[:1]
        converted = _converted(model, target)
        if isinstance(converted, str):
            ledger.miss(nodes, f"opset {now} cannot be raised to {target}: {converted}")
            return
        names = ", ".join(f"{rule.name} ({rule.since})" for rule in reasons)
        if ledger.fire("opset", nodes, f"from {now} to {target}, which has {names}"):
            model.graph = converted.graph
            model.functions.clear()
            model.ir_version = max(model.ir_version, _least_ir_version(target))


@dataclass(kw_only=True)
class _Probe(Ledger):
    """A ledger that lets nothing be changed and keeps what would have been."""

    wanted: bool = False

    def fire(self, site: str, nodes: object, why: str) -> bool:
        """No; but it is noted that there was a place."""
        self.wanted = True
        return False


def _has(model: ir.Model, rule: type[WrittenOut]) -> bool:
    probe = _Probe(rule=rule.name)
    rule().fuse(model, probe)
    return probe.wanted


def _converted(model: ir.Model, target: int) -> ir.Model | str:
    """A copy of ``model`` in opset ``target``, its weights shared; or why there is none."""
    now = model.opset_imports[""]
    for node in model.graph.all_nodes():
        if node.domain == "" and now < CHANGED.get(node.op_type, 0) <= target:
            return f"{node_label(node)!r} would mean something else"
        if target >= NORM_PER_CHANNEL > now and _is_blurred(node):
            return f"the channels of {node_label(node)!r} are not known"
    copy = model.clone()
    ConvertVersionPass(target, fallback=True)(copy)
    if copy.opset_imports.get("") != target:
        return "the ONNX project's converter cannot"
    common.LiftConstantsToInitializersPass(size_limit=0)(copy)
    for node in copy.graph.all_nodes():
        why = _invalid(node, target)
        if why:
            return why
    return copy


def _is_blurred(node: ir.Node) -> bool:
    """Whether ``node`` is a GroupNormalization that the converter would pass over in silence."""
    if node.op_type != "GroupNormalization" or node.domain != "":
        return False
    shapes = [value.shape for value in node.inputs if value is not None]
    if len(shapes) < 2 or shapes[0] is None or shapes[1] is None or len(shapes[0]) < 2:
        return True
    return not isinstance(shapes[0][1], int) or not isinstance(shapes[1][0], int)


def _invalid(node: ir.Node, target: int) -> str:
    """Why ``node`` is none of opset ``target``; empty if it is one."""
    if node.domain != "":
        return ""
    name = repr(node_label(node))
    if node.version not in (None, target):
        return f"the ONNX project's converter left {name} behind"
    try:
        schema = defs.get_schema(node.op_type, target, "")
    except defs.SchemaError:
        return f"{name} is no operator of it"
    foreign = set(node.attributes) - set(schema.attributes)
    given = len(node.inputs)
    if foreign or schema.deprecated or not schema.min_input <= given <= schema.max_input:
        return f"{name} came out invalid"
    return ""


def _least_ir_version(opset: int) -> int:
    """The first version of the file format that may hold ``opset``."""
    return helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
