"""Outputs that are no tensors: those that wrap one are unwrapped, the others are taken off.

Engines exchange tensors, and most readers of ONNX fail on a sequence of maps wherever it stands.
"""

from collections.abc import Iterable

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from lepton_ai.formats.onnx_graph import reads


def unzip_scores(model: ModelProto) -> tuple[str, ...]:
    """Make of each output of maps from class to score (``ZipMap``) the tensor of scores in it.

    Only where a class is its column, or has a name; returns notes for the owner.
    """
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        return ()
    notes = []
    outputs = {value.name: value for value in model.graph.output}
    for node in model.graph.node:
        classes = _classes(node)
        if classes is None or node.output[0] not in outputs:
            continue
        name = node.output[0]
        scores = helper.make_tensor_type_proto(TensorProto.FLOAT, [None, len(classes)])
        outputs[name].type.CopyFrom(scores)
        node.CopyFrom(helper.make_node("Identity", node.input, [name], name=node.name))
        notes.append(
            f"output {name!r} is a sequence of maps, and is given as the tensor of scores in "
            f"them, one column for each of the {len(classes)} classes"
        )
    return tuple(notes)


def keep_outputs(graph: GraphProto, names: Iterable[str]) -> None:
    """Take off every other output, and what was computed for it alone."""
    wanted = set(names)
    if wanted == {value.name for value in graph.output}:
        return
    outputs = [value for value in graph.output if value.name in wanted]
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted |= reads(node)
    tensors = [value for value in graph.value_info if value.name in wanted]
    for field, values in (
        (graph.output, outputs),
        (graph.node, kept[::-1]),
        (graph.value_info, tensors),
    ):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)


def _classes(node: NodeProto) -> list[int] | list[bytes] | None:
    """The classes of a ``ZipMap``, where they are names or the numbers of the columns."""
    if node.op_type != "ZipMap":
        return None
    found = {attribute.name: attribute for attribute in node.attribute}
    if "classlabels_strings" in found:
        return list(found["classlabels_strings"].strings)
    numbers = list(found["classlabels_int64s"].ints) if "classlabels_int64s" in found else []
    return numbers if numbers == list(range(len(numbers))) and numbers else None
