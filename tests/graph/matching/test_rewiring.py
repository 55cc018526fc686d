import onnx_ir as ir

from lepton_ai.graph.matching.rewiring import can_stand_for, remove_dead, stand_for

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (bool c, float[n] x) => (float[n] y, float[n] z)
{
    a = Relu (x)
    y = Exp (a)
    z = Exp (x)
    s = Sqrt (x)
    d = If (c) <
        then_branch = t () => (float[n] u) { u = Neg (s) },
        else_branch = e () => (float[n] v) { v = Identity (a) }
    >
}
"""


def test_an_output_is_computed_in_its_graph_and_is_no_other_output(write):
    model = ir.load(write(TEXT))
    relu, first, second, *_ = model.graph
    assert can_stand_for(relu.outputs[0], first.outputs[0])
    assert not can_stand_for(first.outputs[0], second.outputs[0])
    assert not can_stand_for(model.graph.inputs[1], first.outputs[0])
    assert can_stand_for(model.graph.inputs[1], relu.outputs[0])
    stand_for(relu.outputs[0], first.outputs[0])
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert model.graph.outputs[0] is relu.outputs[0]


def test_with_a_dead_node_goes_what_only_its_graphs_read(write):
    model = ir.load(write(TEXT))
    remove_dead(list(model.graph)[-1])
    assert [node.op_type for node in model.graph] == ["Relu", "Exp", "Exp"]
