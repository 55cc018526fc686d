"""Multiply-accumulates by formula, against counts made by hand."""

import onnx_ir as ir
import pytest

from lepton_ai.graph.inspection.macs import multiply_accumulates


def node(op_type, inputs, output, domain="", **attributes):
    """A node in a graph, with inputs and output of the given shapes; ``None`` leaves one out."""
    values = [
        None if shape is None else ir.Value(name=f"v{i}", shape=ir.Shape(shape))
        for i, shape in enumerate(inputs)
    ]
    made = ir.Node(
        domain,
        op_type,
        values,
        [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()],
        outputs=[ir.Value(name="out", shape=None if output is None else ir.Shape(output))],
    )
    ir.Graph([v for v in values if v], made.outputs, nodes=[made], opset_imports={"": 23})
    return made


MICROSOFT = {"domain": "com.microsoft"}


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "attributes", "count"),
    [
        ("MatMul", [(2, 5, 3), (3, 7)], (2, 5, 7), {}, 2 * 5 * 3 * 7),
        ("MatMul", [(3,), (3, 7)], (7,), {}, 3 * 7),
        ("FusedMatMul", [(3, 5), (3, 7)], (5, 7), {**MICROSOFT, "transA": 1}, 5 * 3 * 7),
        ("Gemm", [(3, 5), (7, 3)], (5, 7), {"transA": 1, "transB": 1}, 5 * 3 * 7),
        ("Conv", [(1, 4, 8, 8), (6, 2, 3, 3)], (1, 6, 4, 4), {"group": 2}, 6 * 16 * 2 * 9),
        ("ConvTranspose", [(1, 4, 8, 8), (4, 6, 2, 2)], (1, 6, 16, 16), {}, 4 * 64 * 6 * 4),
        ("DeformConv", [(1, 4, 8, 8), (6, 4, 3, 3), (1, 18, 8, 8)], (1, 6, 8, 8), {},
         6 * 64 * 4 * 9),
        ("LSTM", [(10, 2, 3), (1, 16, 3), (1, 16, 4)], (10, 1, 2, 4), {}, 10 * 2 * (48 + 64)),
        ("MatMulNBits", [(2, 64), (32, 2, 16)], (2, 32), {**MICROSOFT, "K": 64, "N": 32},
         2 * 64 * 32),
        ("Einsum", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), {"equation": "bij,bjk->bik"},
         2 * 3 * 4 * 5),
        ("Einsum", [(2, 3, 4), (4, 5)], (2, 3, 5), {"equation": "...j,jk->...k"}, 2 * 3 * 4 * 5),
        ("Einsum", [(2, 3), (3, 4), (4, 5)], (2, 5), {"equation": "ij, jk, kl -> il"},
         2 * 3 * 4 + 2 * 4 * 5),
        ("Einsum", [(2, 3), (3, 4)], (2, 4), {"equation": "ij,jk"}, 2 * 3 * 4),
        ("Einsum", [(3, 3)], (3,), {"equation": "ii->i"}, 0),
        # heads 2, tokens 5 and 7, widths 3 and 4
        ("Attention", [(1, 2, 5, 3), (1, 2, 7, 3), (1, 2, 7, 4)], (1, 2, 5, 4), {},
         2 * 5 * 7 * (3 + 4)),
        ("Attention", [(1, 5, 6), (1, 7, 3), (1, 7, 4)], (1, 5, 8),
         {"q_num_heads": 2, "kv_num_heads": 1}, 2 * 5 * 7 * (3 + 4)),
        ("Attention", [(1, 2, 5, 3), (1, 2, 7, 3), (1, 2, 7, 4), None, (1, 2, 10, 3)],
         (1, 2, 5, 4), {}, 2 * 5 * 17 * (3 + 4)),
        ("Attention", [(1, 5, 6), (6, 24), (24,)], (1, 5, 8), {**MICROSOFT, "num_heads": 2},
         5 * 6 * 24 + 5 * 5 * (8 + 8)),
        ("MultiHeadAttention", [(1, 5, 6), (1, 7, 6), (1, 7, 8)], (1, 5, 8),
         {**MICROSOFT, "num_heads": 2}, 5 * 7 * (6 + 8)),
        ("MultiHeadAttention", [(1, 5, 2, 3, 4)], (1, 5, 8), {**MICROSOFT, "num_heads": 2},
         2 * 5 * 5 * 8),
        ("GroupQueryAttention", [(1, 5, 8), (1, 5, 4), (1, 5, 4), (1, 1, 10, 4)], (1, 5, 8),
         {**MICROSOFT, "num_heads": 2, "kv_num_heads": 1}, 2 * 5 * 15 * 8),
        ("GroupQueryAttention", [(1, 5, 16), None, None], (1, 5, 8),
         {**MICROSOFT, "num_heads": 2, "kv_num_heads": 1}, 2 * 5 * 5 * 8),
        ("Relu", [(2, 3)], (2, 3), {}, 0),
        # unknown shapes, operators that multiply in unknown ways, and a namesake of another domain
        ("MatMul", [(2, 3), (3, 4)], None, {}, None),
        ("MatMul", [(2, 3)], (2, 4), {"domain": "some.where"}, 0),
        ("Einsum", [(2, 3)], (2, 4), {"equation": "ij,jk->ik"}, None),
        ("MoE", [(2, 3)], (2, 3), MICROSOFT, None),
    ],
)  # fmt: skip
def test_formulas(operator, inputs, output, attributes, count):
    assert multiply_accumulates(node(operator, inputs, output, **attributes)) == count


def test_a_node_that_was_taken_out_costs_nothing():
    made = node("MatMul", [(2, 3), (3, 4)], (2, 4))
    made.graph.remove(made)
    assert multiply_accumulates(made) == 0
