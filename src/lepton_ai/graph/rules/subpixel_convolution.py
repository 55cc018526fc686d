"""Transposed convolutions as convolutions of the small image, whose channels become its pixels.

A transposed convolution of stride ``s`` computes each output pixel from the few input pixels whose
kernel reaches it. Which taps those are repeats every ``s`` pixels; so one ordinary convolution with
``s * s`` times the channels, one set for each place in a block of ``s`` by ``s``, computes them
all, and DepthToSpace lays the blocks out (Shi et al., "Is the deconvolution layer the same as a
convolutional layer?", 2016).

ONNX Runtime computes the transposed one as a matrix product, at full speed, whose patches it then
adds up, overlap by overlap. For the ordinary one it has blocked kernels that keep sums in
registers, and a slow DepthToSpace. So what counts is how much patches overlap: with a kernel of
twice the stride the transposed one is as fast or faster, from three times on, and at stride 1, the
ordinary one is. :func:`_cost` weighs that.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of, replace
from lepton_ai.graph.matching.linear_layer import (
    LinearLayer,
    constant_shape,
    layer_of,
    new_weight,
    readers_of,
)
from lepton_ai.graph.matching.phase_blocks import Blocks, blocks_at
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.model.signature import Array

#: What else than multiplying takes time in ONNX Runtime 1.32, in multiply-accumulates that one core
#: does meanwhile (some 46 a nanosecond, AVX-512): adding up one product where patches overlap (0.15
#: to 0.6 ns, the more the less they fit into the cache), and laying out one pixel, whose cost falls
#: with the stride (1.8 ns at 2, 0.8 ns at 4).
ADDING_UP: Final = 14
LAYING_OUT: Final = 140
#: Blocked kernels compute this many output channels together, or throw the rest away.
BLOCK: Final = 16
#: From here on DepthToSpace keeps the channels of a block together, as groups need.
LEAST_OPSET: Final = 11
#: ONNX Runtime fuses these into a convolution that they follow directly.
ACTIVATIONS: Final = frozenset({"HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
#: The end of a Slice that takes nothing away.
TO_THE_END: Final = np.iinfo(np.int64).max


class SubpixelConvolution(Rule):
    """ONNX Runtime adds overlapping patches up one by one; its Conv sums in registers."""

    name = "subpixel-convolution"
    requires = (
        "a ConvTranspose on images with a constant weight, equal strides and no dilation, which"
        " spends more on adding up overlaps than its equal convolution on laying pixels out"
    )
    ensures = (
        "a Conv computes every phase and DepthToSpace lays them out, or a Gemm does for a pixel"
    )
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Make a convolution of every such node."""
        if model.opset_imports.get("", 1) < LEAST_OPSET:
            return
        for graph in model.graphs():
            for node in tuple(graph):
                layer = layer_of(node) if node.op_type == "ConvTranspose" else None
                if layer is not None:
                    _rewrite(layer, ledger)


def _rewrite(layer: LinearLayer, ledger: Ledger) -> None:
    fault = _fault(layer)
    if fault:
        ledger.miss([layer.node], fault)
        return
    sizes = _spatial_sizes(layer.node.inputs[0])
    if sizes == (1, 1) and layer.groups == 1:
        _rewrite_pixel(layer, ledger)
        return
    axes = [_best_blocks(layer, axis, sizes[axis]) for axis in (0, 1)]
    height, width = axes
    if height is None or width is None:
        ledger.miss([layer.node], "its padding leaves less than a convolution's output")
        return
    before, after = _cost(layer, height, width, sizes)
    spent = f"{before.products} multiply-accumulates {before.per}become {after.products}"
    if after.total > before.total:
        ledger.miss([layer.node], f"{spent}, and laying pixels out costs more than overlaps do")
        return
    stride = layer.node.attributes.get_ints("strides", (1, 1))[0]
    why = f"one convolution computes all of its {stride} x {stride} phases ({spent})"
    if ledger.fire(str(layer.node.outputs[0].name), [layer.node], why):
        _convolve(layer, height, width, stride)


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """``products`` are multiply-accumulates; ``total`` adds what else takes as long as some."""

    products: int
    total: float
    per: str


def _cost(
    layer: LinearLayer, height: Blocks, width: Blocks, sizes: tuple[int | None, int | None]
) -> tuple[_Cost, _Cost]:
    """What the transposed convolution costs, and what the ordinary one does.

    Per image, or per pixel of it where its size is not known.
    """
    known = sizes[0] is not None and sizes[1] is not None
    rows, columns = sizes[0] or 1, sizes[1] or 1
    pixels, blocks = rows * columns, rows * columns
    if known:
        blocks = (rows + height.extra) * (columns + width.extra)
    stride = layer.node.attributes.get_ints("strides", (1, 1))[0]
    patch = math.prod(layer.shape[2:])
    products = pixels * layer.shape[0] * layer.shape[1] * patch
    overlaps = pixels * layer.outputs * patch if patch > stride**2 else 0
    phases = stride**2 * layer.outputs
    computed = -(-phases // BLOCK) * BLOCK if layer.groups == 1 else phases
    each = blocks * height.taps * width.taps * layer.shape[0] // layer.groups
    laid = blocks * phases * LAYING_OUT / stride if stride > 1 else 0.0
    per = "" if known else "per pixel "
    return (
        _Cost(products=products, total=products + ADDING_UP * overlaps, per=per),
        _Cost(products=each * phases, total=each * computed + laid, per=per),
    )


def _fault(layer: LinearLayer) -> str:
    """Why ``layer`` has no equal convolution here; empty where it has."""
    node, attributes = layer.node, layer.node.attributes
    if len(layer.shape) != 4:
        return "it is no convolution of images"
    if layer.weight.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return f"DepthToSpace is not there for {layer.weight.dtype}"
    if attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attributes:
        return "it pads for an output of a given shape"
    if any(step != 1 for step in attributes.get_ints("dilations", ())):
        return "its kernel has gaps"
    if len(set(attributes.get_ints("strides", (1, 1)))) > 1:
        return "its strides differ, and the blocks of DepthToSpace are square"
    if min((*attributes.get_ints("pads", (0,)), *attributes.get_ints("output_padding", (0,)))) < 0:
        return "it pads by less than nothing"
    if (
        len(node.inputs) > 2
        and node.inputs[2] is not None
        and constant_shape(node.inputs[2]) is None
    ):
        return "its bias is not constant"
    return layer.copy_fault()


def _spatial_sizes(value: ir.Value | None) -> tuple[int | None, int | None]:
    if value is None or value.shape is None or len(value.shape) != 4:
        return None, None
    height, width = (size if isinstance(size, int) else None for size in value.shape[2:])
    return height, width


def _best_blocks(layer: LinearLayer, axis: int, size: int | None) -> Blocks | None:
    """The blocks with the least arithmetic; of equals, those with the least to drop."""
    stride = layer.node.attributes.get_ints("strides", (1, 1))[axis]
    pads = layer.node.attributes.get_ints("pads", (0, 0, 0, 0))
    extra = layer.node.attributes.get_ints("output_padding", (0, 0))[axis]
    kernel = layer.shape[2 + axis]
    every = [
        blocks_at(kernel, stride, pads[axis], pads[axis + 2], extra, start)
        for start in range(stride)
    ]
    possible = [blocks for blocks in every if blocks is not None]
    # Many pixels, where their number is not known: the border then weighs nothing.
    count = 2**20 if size is None else size
    return min(
        possible,
        key=lambda blocks: (
            blocks.taps * (count + blocks.extra),
            blocks.crop_begin + blocks.crop_end,
        ),
        default=None,
    )


def _convolve(layer: LinearLayer, height: Blocks, width: Blocks, stride: int) -> None:
    node = layer.node
    pads = [height.begin, width.begin, height.end, width.end]
    inputs: list[ir.Value | None] = [
        node.inputs[0],
        new_weight(node, str(layer.weight.name), _phase_weight(layer, height, width)),
    ]
    bias = None if layer.bias is None else constant_of(layer.bias)
    if bias is not None and layer.bias is not None:
        inputs.append(new_weight(node, str(layer.bias.name), np.repeat(bias, stride * stride)))
    kernel = [height.taps, width.taps]
    attributes: dict[str, int | list[int]] = {
        "kernel_shape": kernel,
        "pads": pads,
        "group": layer.groups,
    }
    made = [ir.node("Conv", inputs, attributes)]
    activation = _activation_after(node)
    if activation is not None:
        made.append(ir.node(activation.op_type, [made[0].outputs[0]], activation.attributes))
    if stride > 1:
        blocks = made[-1].outputs[0]
        made.append(ir.node("DepthToSpace", [blocks], {"blocksize": stride, "mode": "CRD"}))
    begins = [height.crop_begin, width.crop_begin]
    ends = [height.crop_end, width.crop_end]
    if any(begins) or any(ends):
        stops = [-crop if crop else TO_THE_END for crop in ends]
        cut = [
            new_weight(node, f"{node.outputs[0].name}_{name}", np.array(values, dtype=np.int64))
            for name, values in (("starts", begins), ("ends", stops), ("axes", [2, 3]))
        ]
        made.append(ir.node("Slice", [made[-1].outputs[0], *cut]))
    for step in made:
        step.outputs[0].type = node.outputs[0].type
    old = [node] if activation is None else [node, activation]
    replace(old, made, old[-1])


def _activation_after(node: ir.Node) -> ir.Node | None:
    """The activation that alone reads the answer: it moves along, right behind the convolution."""
    readers = readers_of(node.outputs[0])
    if len(readers) != 1 or node.outputs[0].is_graph_output() or readers[0].graph is not node.graph:
        return None
    return readers[0] if readers[0].op_type in ACTIVATIONS and readers[0].domain == "" else None


def _phase_weight(layer: LinearLayer, height: Blocks, width: Blocks) -> Array:
    """The convolution's weight: for each output channel, one kernel per place in a block."""
    values = constant_of(layer.weight)
    if values is None:
        raise ValueError(f"weight {layer.weight.name!r} is not constant")
    groups, (incoming, outgoing) = layer.groups, layer.shape[:2]
    # One column of zeros at the end, which the index -1 finds.
    padded = np.pad(values, ((0, 0), (0, 0), (0, 1), (0, 1)))
    taps = padded[:, :, height.sources[:, None, :, None], width.sources[None, :, None, :]]
    by_group = taps.reshape(groups, incoming // groups, outgoing, *taps.shape[2:])
    # [group, in, out, row, column, *kernel] to [group, out, row, column, in, *kernel].
    ordered = by_group.transpose(0, 2, 3, 4, 1, 5, 6)
    channels = groups * outgoing * math.prod(taps.shape[2:4])
    return np.ascontiguousarray(ordered.reshape(channels, incoming // groups, *taps.shape[4:]))


def _rewrite_pixel(layer: LinearLayer, ledger: Ledger) -> None:
    """Of a single pixel, a transposed convolution makes its kernel times the pixel: a product."""
    node, values = layer.node, constant_of(layer.weight)
    pads = node.attributes.get_ints("pads", (0, 0, 0, 0))
    extra = node.attributes.get_ints("output_padding", (0, 0))
    height, width = (
        layer.shape[2 + axis] + extra[axis] - pads[axis] - pads[axis + 2] for axis in (0, 1)
    )
    if values is None or height < 1 or width < 1:
        ledger.miss([node], "nothing is left of its output")
        return
    if not ledger.fire(
        str(node.outputs[0].name), [node], "of a single pixel, it computes a plain product"
    ):
        return
    padded = np.pad(values, ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])))
    kept = padded[:, :, pads[0] : pads[0] + height, pads[1] : pads[1] + width]
    weight = np.ascontiguousarray(kept.reshape(layer.inputs, -1))
    factors = [new_weight(node, str(layer.weight.name), weight)]
    bias = None if layer.bias is None else constant_of(layer.bias)
    if bias is not None and layer.bias is not None:
        factors.append(new_weight(node, str(layer.bias.name), np.repeat(bias, height * width)))
    # A 0 keeps the size of the batch, whatever it is.
    shape = np.array([0, layer.outputs, height, width], dtype=np.int64)
    flat = ir.node("Flatten", [node.inputs[0]], {"axis": 1})
    product = ir.node("Gemm", [flat.outputs[0], *factors])
    target = new_weight(node, f"{node.outputs[0].name}_shape", shape)
    laid = ir.node("Reshape", [product.outputs[0], target])
    for step in (flat, product):
        step.outputs[0].type = node.outputs[0].type
    replace([node], [flat, product, laid], node)
