"""What a node was given: attributes in old opsets, inputs in newer ones, read alike."""

import onnx_ir as ir

from lepton_ai.graph.building import constant_of

#: Axes, pads, starts: longer ones are no such thing.
MOST_NUMBERS = 64


def is_standard(node: ir.Node | None, *operators: str) -> bool:
    """Whether ``node`` is one of ONNX's own ``operators``."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in operators


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input number ``index``; ``None`` if it was left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def numbers_of(value: ir.Value | None) -> list[int] | None:
    """The few integers that ``value`` holds in every call, if it does."""
    values = constant_of(value, MOST_NUMBERS)
    if values is None or values.dtype.kind not in "iub":
        return None
    return [int(one) for one in values.reshape(-1)]


def is_given(node: ir.Node, name: str, index: int) -> bool:
    """Whether ``node`` has the attribute ``name`` or input number ``index``."""
    return name in node.attributes or operand(node, index) is not None


def numbers(node: ir.Node, name: str, index: int) -> list[int] | None:
    """The integers of attribute ``name``, or of input ``index``; ``None`` if not known or given."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return numbers_of(operand(node, index))
    if attribute.is_ref():
        return None
    if attribute.type == ir.AttributeType.INT:
        return [attribute.as_int()]
    return list(attribute.as_ints()) if attribute.type == ir.AttributeType.INTS else None


def attribute_int(node: ir.Node, name: str, default: int) -> int | None:
    """The integer attribute ``name``; ``None`` where it stands for a function's parameter."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else attribute.as_int()


def permutation(node: ir.Node, rank: int | None = None) -> list[int] | None:
    """The axes in the order into which a Transpose puts them; the default reverses them."""
    attribute = node.attributes.get("perm")
    if attribute is not None:
        return None if attribute.is_ref() else list(attribute.as_ints())
    return None if rank is None else list(reversed(range(rank)))


def positive(axes: list[int], rank: int) -> list[int]:
    """``axes`` counted from the front."""
    return [axis + rank if axis < 0 else axis for axis in axes]


def opset_of(model: ir.Model) -> int:
    """The version of ONNX's own operators that ``model`` is written in."""
    return model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
