"""What ONNX Runtime wants of a quantised graph: no rounding and no weights that it cannot fuse.

It computes a layer in int8 where the ``DequantizeLinear`` before it and mostly the
``QuantizeLinear`` after it fuse with it. Where they do not, it computes the layer in floating
point, and widens its weights anew in each call: MiniLM by NNCF took 17 ms so, and 9 ms in fp32.
Which those are is read off the graph that the runtime itself makes of a network; then

- activations are rounded to unsigned integers: signed ones are not fused on x86 where several
  layers read them;
- weights that no integer kernel reads are widened by ``Cast`` and ``Mul``, which the runtime
  computes once while it loads; embeddings after the rows were looked up, which saves the memory;
- what is rounded only to be widened again is not rounded.
"""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.errors import ModelError, first_line

#: From signed to unsigned 8-bit integers.
_SHIFT = 128
#: Widening fewer elements in each call takes no time that could be measured.
LEAST_ELEMENTS = 1024


def finish(model: onnx.ModelProto) -> bool:
    """Change ``model`` into what ONNX Runtime computes fastest; whether anything was changed.

    Raises:
        ModelError: ONNX Runtime does not take the graph.
    """
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return False
    better = onnx.ModelProto()
    better.CopyFrom(model)
    finishing = _Finishing(better)
    inside, changed = _in_runtime(model), False
    if finishing.round_to_unsigned():  # the runtime does so too, as far as it can, to other names
        before = len(_idle_weights(inside))
        inside = _in_runtime(better)
        changed = len(_idle_weights(inside)) < before
    changed |= finishing.widen_idle_weights(_idle_weights(inside))
    changed |= finishing.drop_idle_rounding(inside)
    if changed:
        model.CopyFrom(_tidy(better))
    return changed


def _in_runtime(model: onnx.ModelProto) -> onnx.ModelProto:
    """What the runtime makes of ``model``, its own layouts of weights aside."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory(prefix="lepton-finish-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as failure:  # ONNX Runtime's exceptions share no base class
            raise ModelError(f"onnxruntime refuses the graph: {first_line(failure)}") from failure
        return onnx.load(options.optimized_model_filepath)


def _idle_weights(optimised: onnx.ModelProto) -> set[str]:
    """The weights that the runtime would widen in each call."""
    large = {
        weight.name
        for weight in optimised.graph.initializer
        if np.prod(weight.dims, dtype=np.int64) >= LEAST_ELEMENTS
    }
    return {
        node.input[0]
        for node in optimised.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in large
    }


class _Finishing:
    """A quantised graph that is being changed in place; each change says whether it found any."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._answers = {value.name for value in model.graph.output}

    def round_to_unsigned(self) -> bool:
        """Let activations be rounded to what is 128 more; the values they stand for stay."""
        found = False
        for node in self._graph.node:
            zero = self._weights.get(node.input[2]) if len(node.input) > 2 else None
            if node.op_type != "QuantizeLinear" or zero is None:
                continue
            widened = self._only_widened(node.output[0])
            if zero.data_type == TensorProto.INT8 and widened:
                found = True
                values = numpy_helper.to_array(zero).astype(np.int32) + _SHIFT
                name = self._add(f"{node.output[0]}/zero", values.astype(np.uint8))
                for each in (node, *widened):
                    each.input[2] = name
                self._forget_type(node.output[0])
        return found

    def widen_idle_weights(self, idle: set[str]) -> bool:
        """Widen the weights ``idle`` by what is computed once, or after rows were looked up."""
        found = False
        for node in [each for each in self._graph.node if each.input and each.input[0] in idle]:
            blocked = any(each.name == "block_size" and each.i for each in node.attribute)
            constant = all(name in self._weights for name in node.input)
            if node.op_type != "DequantizeLinear" or blocked or not constant:
                continue
            found = True
            readers = self._readers[node.output[0]]
            scale, zero = self._along(node)
            by_rows = _varies_by_rows_alone(scale) and not zero.any()
            if by_rows and all(map(_looks_rows_up, readers)):
                for reader in readers:
                    self._widen_rows(reader, node.input[0], scale)
            else:
                self._widen(node, scale, zero)
        return found

    def drop_idle_rounding(self, optimised: onnx.ModelProto) -> bool:
        """Let be read as it is what the runtime would round and widen again, one after the other.

        Only where it stays apart from what computes it: fused with that, it takes no time.
        """
        apart = {node.name for node in optimised.graph.node if node.op_type == "QuantizeLinear"}
        widened: dict[str, set[str]] = defaultdict(set)
        for node in optimised.graph.node:
            for name in node.input:
                widened[name].add(node.op_type)
        found = False
        for node in list(self._graph.node):
            alone = widened[node.output[0]] == {"DequantizeLinear"}
            if node.op_type != "QuantizeLinear" or node.name not in apart or not alone:
                continue
            for each in self._only_widened(node.output[0]):
                if "QuantizeLinear" not in widened[each.output[0]]:
                    found |= self._cut_off(node, each)
        return found

    def _only_widened(self, rounded: str) -> list[onnx.NodeProto]:
        """What reads ``rounded``, if all of that widens it."""
        readers = self._readers[rounded]
        fine = all(reader.op_type == "DequantizeLinear" for reader in readers)
        return readers if fine and rounded not in self._answers else []

    def _cut_off(self, rounding: onnx.NodeProto, widening: onnx.NodeProto) -> bool:
        """Cut off what a rounding cuts off, in its place: quantisers drop a Relu before it."""
        if any(name not in self._weights for name in rounding.input[1:]) or len(rounding.input) < 3:
            return False
        scale, zero = (numpy_helper.to_array(self._weights[name]) for name in rounding.input[1:])
        if scale.size > 1 or zero.dtype not in (np.int8, np.uint8):
            return False
        name, limits = widening.output[0], np.iinfo(zero.dtype)
        least, most = (
            self._add(
                f"{name}/{end}", np.asarray((end - int(zero.item())) * scale.item(), scale.dtype)
            )
            for end in (limits.min, limits.max)
        )
        widening.output[0] = f"{name}/unread"
        self._put("Clip", [rounding.input[0], least, most], name)
        return True

    def _along(self, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
        """The scale and the zero point of a weight, in a shape that broadcasts against it."""
        rank = len(self._weights[node.input[0]].dims)
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        found = [numpy_helper.to_array(self._weights[name]) for name in node.input[1:]]
        shape = [1] * rank
        if found[0].size > 1:
            shape[axis] = -1
        scale = found[0].reshape(shape)
        return scale, found[1].reshape(shape) if len(found) > 1 else np.zeros(1, np.uint8)

    def _widen(self, node: onnx.NodeProto, scale: np.ndarray, zero: np.ndarray) -> None:
        """Put arithmetic that is folded in the place of a ``DequantizeLinear``, which is not."""
        name = node.output[0]
        made = self._cast(node.input[0], name, scale)
        if zero.any():
            shift = self._add(f"{name}/zero", zero.astype(scale.dtype))
            self._put("Sub", [made, shift], f"{name}/shifted")
            made = f"{name}/shifted"
        node.output[0] = f"{name}/unread"
        self._put("Mul", [made, self._add(f"{name}/scale", scale)], name)

    def _widen_rows(self, lookup: onnx.NodeProto, stored: str, scale: np.ndarray) -> None:
        """Let a ``Gather`` look up rows as they are stored, and widen those."""
        name, index = lookup.output[0], lookup.input[1]
        lookup.input[0], lookup.output[0] = stored, f"{name}/stored"
        factor = self._add(f"{name}/scale", scale if scale.size > 1 else scale.reshape(()))
        if scale.size > 1:
            self._put("Gather", [factor, index], f"{name}/scales", axis=0)
            factor = f"{name}/scales"
        self._put("Mul", [self._cast(lookup.output[0], name, scale), factor], name)

    def _cast(self, stored: str, name: str, scale: np.ndarray) -> str:
        kind = helper.np_dtype_to_tensor_dtype(scale.dtype)
        return self._put("Cast", [stored], f"{name}/wide", to=kind)

    def _put(self, operator: str, inputs: list[str], output: str, **attributes: int) -> str:
        node = helper.make_node(operator, inputs, [output], name=f"{output}/{operator}")
        node.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
        self._graph.node.append(node)
        return output

    def _add(self, name: str, values: np.ndarray) -> str:
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
            self._graph.initializer.append(self._weights[name])
        return name

    def _forget_type(self, name: str) -> None:
        for value in [each for each in self._graph.value_info if each.name == name]:
            self._graph.value_info.remove(value)


def _varies_by_rows_alone(scale: np.ndarray) -> bool:
    return scale.size in (1, scale.shape[0])


def _looks_rows_up(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gather" and all(each.i == 0 for each in node.attribute)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with its nodes in order, and without what nothing reads any more."""
    ordered = passes.TopologicalSortPass()(ir.from_proto(model)).model
    return ir.to_proto(passes.RemoveUnusedNodesPass()(ordered).model)
