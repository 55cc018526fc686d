import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.values.bounds import Bounds

TEXT = """
<ir_version: 9, opset_import: ["" : 20]>
net (float[n] x, bool[n] flag, int64[n] whole) => (TYPE[m] y)
<float[3] row = {-1.0, 0.5, 2.0}, float two = {2.0}, float lowest = {-3.0e38}, int64 zero = {0},
 int64 one = {1}>
{ BODY }
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Add(row, two)", (1.0, 4.0)),
        ("y = Sub(two, row)", (0.0, 3.0)),
        ("y = Mul(row, row)", (-2.0, 4.0)),
        ("y = Div(row, two)", (-0.5, 1.0)),
        ("y = Div(two, row)", None),
        ("y = Neg(row)", (-2.0, 1.0)),
        ("y = Where(flag, two, lowest)", (np.float32(-3e38), 2.0)),
        ("y = Cast<to = 1>(flag)", (0.0, 1.0)),
        ("a = Concat<axis = 0>(row, row) y = Unsqueeze(a, zero)", (-1.0, 2.0)),
        ("y = Add(lowest, lowest)", None),
        ("y = Identity(x)", None),
        ("y = Add(x, two)", None),
        ("y = Log(row)", None),
    ],
)
def test_between_which_numbers_a_value_lies(body, expected):
    assert bounds_of(body) == expected


def test_positions_are_never_below_their_first():
    body = "s = Shape(x) c = Squeeze(s) r = Range(zero, c, one) y = GreaterOrEqual(r, START)"
    assert bounds_of(body.replace("START", "zero"), "bool") == (1.0, 1.0)
    assert bounds_of(body.replace("START", "one"), "bool") == (0.0, 1.0)


def test_what_layers_compute_is_taken_to_be_finite():
    low, high = bounds_of("a = MatMul(x, x) y = Sigmoid(a)")
    assert -1e31 < low < high < 1e31


def test_a_constant_that_holds_infinity_has_no_bounds():
    value = ir.Value(name="bad", const_value=ir.tensor(np.array([0, -np.inf], "f")))
    assert Bounds().of(value) is None


def bounds_of(body, dtype="float"):
    text = TEXT.replace("BODY", body).replace("TYPE", dtype)
    model = ir.serde.deserialize_model(parser.parse_model(text))
    infer_shapes(model)
    return Bounds().of(model.graph.outputs[0])


@pytest.mark.parametrize(
    ("body", "dtype", "expected"),
    [
        ("a = Add(zero, one) s = Add(a, a) t = Add(s, one) y = Div(t, s)", "int64", (1.0, 1.0)),
        ("y = Cast<to = 7>(row)", "int64", (-1.0, 2.0)),
        ("h = Div(row, two) y = Cast<to = 6>(h)", "int32", (0.0, 1.0)),
        ("a = Cast<to = 2>(zero) b = Cast<to = 2>(one) y = Sub(a, b)", "uint8", None),
        ("a = Add(one, one) y = Cast<to = 9>(a)", "bool", (1.0, 1.0)),
        ("y = Cast<to = 9>(row)", "bool", (0.0, 1.0)),
        ("y = Cast<to = 9>(zero)", "bool", (0.0, 0.0)),
    ],
)
def test_whole_numbers_are_cut_off_and_natural_ones_wrap(body, dtype, expected):
    assert bounds_of(body, dtype) == expected
