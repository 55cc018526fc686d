"""Zeros put around a value, by the convolution or pooling that reads it.

The onnxscript rewriter folds a Pad into a Conv only, takes a pad that a caller may override for a
constant, and does not know the Pad of old files, whose sizes are attributes. So this reads the Pad
itself.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.matching.linear_layer import FLOATS
from lepton_ai.graph.rule import Ledger, Rule

#: Operators whose answer is never negative, whatever they read.
NEVER_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax"})


@dataclass(frozen=True, kw_only=True)
class _Padding:
    """What a Pad puts around the spatial axes: elements before, elements after, and their value."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    value: float


class FoldPad(Rule):
    """Convolutions and poolings pad as they read; a Pad of its own copies the whole value."""

    name = "fold-pad"
    requires = (
        "a constant Pad on spatial axes alone, with the value that the Conv, ConvTranspose,"
        " AveragePool or MaxPool that reads it pads with"
    )
    ensures = "the reader pads by itself"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fold every such Pad into its reader."""
        for graph in model.graphs():
            for node in tuple(graph):
                while node.op_type in READERS and node.domain == "" and _fold(node, ledger):
                    pass


def _fold(reader: ir.Node, ledger: Ledger) -> bool:
    given = reader.inputs[0]
    pad = None if given is None else given.producer()
    if pad is None or pad.op_type != "Pad" or pad.domain != "":
        return False
    padding = _read(pad)
    folded = padding if isinstance(padding, str) else READERS[reader.op_type](reader, pad, padding)
    if isinstance(folded, str):
        ledger.miss([pad, reader], folded)
        return False
    # One reader may have several Pads before it: the Pad's own output tells the sites apart.
    site = f"{reader.outputs[0].name}:{pad.outputs[0].name}"
    if not ledger.fire(site, [pad, reader], f"{reader.op_type} pads with the same by itself"):
        return False
    reader.attributes.pop("auto_pad", None)
    for attribute in folded:
        reader.attributes.add(attribute)
    reader.replace_input_with(0, pad.inputs[0])
    return True


def _read(pad: ir.Node) -> _Padding | str:
    """What ``pad`` does, or why that fits no reader."""
    if pad.attributes.get_string("mode", "constant") != "constant":
        return "it does not pad with a constant"
    value: float | None = pad.attributes.get_float("value", 0.0)
    if len(pad.inputs) > 2 and pad.inputs[2] is not None:
        filled = constant_of(pad.inputs[2], most_elements=1)
        value = None if filled is None or filled.size != 1 else float(filled.reshape(-1)[0])
    sizes = _sizes(pad)
    if sizes is None or value is None:
        return "how much it pads, and with what, is not constant"
    rank = len(sizes) // 2
    begin, end = tuple(sizes[2:rank]), tuple(sizes[rank + 2 :])
    if any(sizes[:2]) or any(sizes[rank : rank + 2]):
        return "it pads the batch or the channels"
    if any(size < 0 for size in sizes):
        return "it takes elements away"
    return _Padding(begin=begin, end=end, value=value)


def _sizes(pad: ir.Node) -> list[int] | None:
    """Elements before and after every axis; ``None`` if not known."""
    if len(pad.inputs) < 2:
        return list(pad.attributes.get_ints("pads", ())) or None
    given = constant_of(pad.inputs[1])
    if given is None:
        return None
    sizes = [int(size) for size in given.reshape(-1)]
    if len(pad.inputs) < 4 or pad.inputs[3] is None:
        return sizes
    axes, source = constant_of(pad.inputs[3]), pad.inputs[0]
    if axes is None or source is None or source.shape is None:
        return None
    rank = len(source.shape)
    full = [0] * (2 * rank)
    for place, axis in enumerate(int(axis) % rank for axis in axes.reshape(-1)):
        full[axis], full[axis + rank] = sizes[place], sizes[place + len(sizes) // 2]
    return full


def _own_pads(reader: ir.Node, spatial: int) -> list[int] | str:
    automatic = reader.attributes.get_string("auto_pad", "NOTSET")
    if automatic == "VALID":
        return [0] * (2 * spatial)
    if automatic != "NOTSET":
        return f"its reader pads by the size of what it reads ({automatic})"
    return list(reader.attributes.get_ints("pads", [0] * (2 * spatial)))


def _into_conv(reader: ir.Node, pad: ir.Node, padding: _Padding) -> list[ir.Attr] | str:
    own = _own_pads(reader, len(padding.begin))
    if isinstance(own, str):
        return own
    if padding.value != 0:
        return "it pads with another value than zero"
    total = [a + b for a, b in zip(own, padding.begin + padding.end, strict=True)]
    return [ir.AttrInt64s("pads", total)]


def _into_transposed(reader: ir.Node, pad: ir.Node, padding: _Padding) -> list[ir.Attr] | str:
    """Zeros around the input make the output larger, which ``pads`` of the output take away."""
    own = _own_pads(reader, len(padding.begin))
    if isinstance(own, str):
        return own
    if padding.value != 0 or "output_shape" in reader.attributes:
        return "it pads with another value than zero, or for an output of a given shape"
    strides = reader.attributes.get_ints("strides", [1] * len(padding.begin))
    grown = [s * p for s, p in zip([*strides, *strides], padding.begin + padding.end, strict=True)]
    left = [a - b for a, b in zip(own, grown, strict=True)]
    if any(size < 0 for size in left):
        return "the transposed convolution keeps what the zeros add to its output"
    return [ir.AttrInt64s("pads", left)]


def _into_pool(reader: ir.Node, padding: _Padding) -> list[int] | str:
    """The pads that a pooling has afterwards, where all its windows stay as they were."""
    own = _own_pads(reader, len(padding.begin))
    if isinstance(own, str):
        return own
    kernel = reader.attributes.get_ints("kernel_shape", ())
    if reader.attributes.get_int("ceil_mode", 0):
        return "a pooling that rounds up lets no window begin in the padding"
    if any(step != 1 for step in reader.attributes.get_ints("dilations", ())):
        return "the pooling's windows have gaps"
    total = [a + b for a, b in zip(own, padding.begin + padding.end, strict=True)]
    if any(size >= kernel[axis % len(kernel)] for axis, size in enumerate(total)):
        return "a window would see nothing but padding"
    return total


def _into_average(reader: ir.Node, pad: ir.Node, padding: _Padding) -> list[ir.Attr] | str:
    total = _into_pool(reader, padding)
    if isinstance(total, str):
        return total
    counts = bool(reader.attributes.get_int("count_include_pad", 0))
    if padding.value != 0:
        return "it pads with another value than zero"
    if not counts and any(reader.attributes.get_ints("pads", ())):
        return "the pooling counts its own padding in no average, and the Pad's in each"
    return [ir.AttrInt64s("pads", total), ir.AttrInt64("count_include_pad", 1)]


def _into_maximum(reader: ir.Node, pad: ir.Node, padding: _Padding) -> list[ir.Attr] | str:
    """A maximum ignores padding: so does one over a value that is never the largest."""
    total = _into_pool(reader, padding)
    if isinstance(total, str):
        return total
    source = pad.inputs[0]
    if len(reader.outputs) > 1:
        return "the places of the maxima are read, and the Pad moves them"
    if source is None or source.dtype not in FLOATS:
        return "what it pads is not known to be floating point"
    smallest = padding.value == -math.inf or (padding.value <= 0 and _never_negative(source))
    if not smallest:
        return "the value that it pads with may be the largest in a window"
    return [ir.AttrInt64s("pads", total)]


def _never_negative(value: ir.Value) -> bool:
    made = value.producer()
    if made is None or made.domain != "":
        return False
    if made.op_type != "Clip":
        return made.op_type in NEVER_NEGATIVE
    # Of bounds that cross, the upper one holds.
    least, most = _bound(made, 1, "min", -math.inf), _bound(made, 2, "max", math.inf)
    return least is not None and most is not None and min(least, most) >= 0


def _bound(clip: ir.Node, index: int, name: str, default: float) -> float | None:
    """A bound of a Clip, which is an attribute or an input; ``None`` if it is not known."""
    given = clip.inputs[index] if index < len(clip.inputs) else None
    if given is None:
        return clip.attributes.get_float(name, default)
    held = constant_of(given, most_elements=1)
    return None if held is None or held.size != 1 else float(held.reshape(-1)[0])


Fold = Callable[[ir.Node, ir.Node, _Padding], list[ir.Attr] | str]
READERS: Mapping[str, Fold] = {
    "AveragePool": _into_average,
    "Conv": _into_conv,
    "ConvTranspose": _into_transposed,
    "MaxPool": _into_maximum,
}
