import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from lepton_ai.errors import ModelError
from lepton_ai.graph.inspection.outline import Outline, OutlineNode, outline

Write = Callable[..., Path]

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[n,4] x, float[n,2] shift) => (float[n,2] y, float[n,2] product)
{
    product = MatMul(x, w)
    shifted = Add(product, shift)
    y = Relu(shifted)
}
"""


def read(write: Write, text: str, **weights: np.ndarray) -> Outline:
    return outline(write(text, **weights))


def named(record: Outline, name: str) -> OutlineNode:
    return next(node for node in record.nodes if node.name == name)


def test_nodes_with_what_they_read_and_give(write: Write) -> None:
    record = read(write, TEXT, w=np.ones((4, 2), np.float32))
    assert [one.name for one in record.inputs] == ["x", "shift"]
    assert [one.shape for one in record.inputs] == ["FLOAT [n,4]", "FLOAT [n,2]"]
    assert [(one.name, one.node) for one in record.outputs] == [("y", 2), ("product", 0)]
    product, added, _ = record.nodes
    assert (product.name, product.operator) == ("MatMul of product", "MatMul")
    assert (product.inputs, product.reads) == ((), (0,))
    assert (added.inputs, added.reads) == ((0,), (1,))
    assert product.shapes == ("FLOAT [n,2]",)
    assert (product.macs, added.macs) == (8, 0)
    assert [node.block for node in record.nodes] == [(), (), ()]


def test_a_weight_that_is_also_an_input_is_not_drawn_as_one(write: Write) -> None:
    text = TEXT.replace("float[n,4] x,", "float[n,4] x, float[4,2] w,")
    record = read(write, text, w=np.ones((4, 2), np.float32))
    assert [one.name for one in record.inputs] == ["x", "shift"]


def test_an_input_that_is_given_back_has_no_node(write: Write) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] x) => (float[2] y, float[2] x) { y = Relu(x) }
    """
    assert [one.node for one in read(write, text).outputs] == [0, None]


def test_json_is_plain(write: Write) -> None:
    record = read(write, TEXT, w=np.ones((4, 2), np.float32)).to_json()
    assert json.loads(json.dumps(record))["nodes"][1]["inputs"] == [0]


BODIES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2] x, bool which) => (float[2] y)
{
    twice = Add(x, x)
    y = If (which) <
        then_branch = yes () => (float[2] a) { [inner] a = Relu(twice) },
        else_branch = no () => (float[2] b) { c = Neg(x)  b = Abs(c) }
    >
}
"""


def test_bodies_come_after_the_graph_around_them(write: Write) -> None:
    record = read(write, BODIES)
    assert [node.operator for node in record.nodes][:2] == ["Add", "If"]
    relu = next(node for node in record.nodes if node.operator == "Relu")
    assert (relu.within, relu.body, relu.inputs) == (1, "then_branch", (0,))
    neg = next(node for node in record.nodes if node.operator == "Neg")
    assert (neg.within, neg.body, neg.reads) == (1, "else_branch", (0,))
    absolute = next(node for node in record.nodes if node.operator == "Abs")
    assert absolute.inputs == (neg.index,)
    assert record.outputs[0].node == 1


def chain_of(operators: int) -> str:
    lines = "".join(f"v{at + 1} = Relu(v{at})\n" for at in range(operators))
    return f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] v0) => (float[2] v{operators}) {{ {lines} }}
    """


def change(path: Path, *names: str, **metadata: list[str]) -> Outline:
    """Name the nodes of the file, give them metadata, and read its outline."""
    model = onnx.load(path)
    for at, node in enumerate(model.graph.node):
        if names:
            node.name = names[at]
        for key, values in metadata.items():
            node.metadata_props.add(key=key.replace("__", "."), value=values[at])
    onnx.save(model, path)
    return outline(path)


def test_blocks_from_what_pytorch_records(write: Write) -> None:
    scopes = ["['', 'enc', 'enc.0', 'relu']"] * 3 + ["['', 'enc', 'enc.1', 'relu_1']"] * 3
    record = change(write(chain_of(6)), pkg__torch__onnx__name_scopes=scopes)
    assert [node.block for node in record.nodes] == [("enc.0",)] * 3 + [("enc.1",)] * 3


def test_blocks_from_namespaces(write: Write) -> None:
    spaces = [f": Net/enc: Encoder/enc.{at // 3}: Block/relu: aten.relu" for at in range(6)]
    record = change(write(chain_of(6)), namespace=spaces)
    assert [node.block for node in record.nodes] == [("enc.0",)] * 3 + [("enc.1",)] * 3


@pytest.mark.parametrize("style", ["/net/block{}/act/Relu_{}", "net/block{}/Relu_{}"])
def test_blocks_from_names(write: Write, style: str) -> None:
    names = [style.format(at // 3, at) for at in range(6)]
    record = change(write(chain_of(6)), *names)
    assert [node.block for node in record.nodes] == [("block0",)] * 3 + [("block1",)] * 3
    assert [node.name for node in record.nodes] == names


def test_nodes_that_pytorch_made_in_no_module_join_their_readers(write: Write) -> None:
    scopes = ["['_empty_nn_module_stack_from_metadata_hook', 'sym_size']"]
    scopes += ["['', 'a', 'x']"] * 3 + ["['', 'b', 'y']"] * 3
    record = change(write(chain_of(7)), pkg__torch__onnx__name_scopes=scopes)
    assert [node.block for node in record.nodes] == [("a",)] * 4 + [("b",)] * 3


def test_a_name_of_a_thousand_modules_is_taken(write: Write) -> None:
    names = [f"{'deep/' * 1_000}{at % 2}/Relu_{at}" for at in range(6)]
    assert len(change(write(chain_of(6)), *names).nodes) == 6


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "not.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match=r"not\.onnx"):
        outline(tmp_path / "not.onnx")
