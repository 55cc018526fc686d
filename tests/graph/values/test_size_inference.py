import onnx_ir as ir
import pytest

from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.values.size_inference import KnownSizes

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


@pytest.fixture
def known(write):
    """The sizes of each value of a graph, by name, as text."""

    def read(text):
        model = ir.load(write(text))
        infer_shapes(model)
        sizes = KnownSizes(model)
        found = {}
        for node in model.graph.all_nodes():
            for value in node.outputs:
                shape = sizes.shape(value)
                found[value.name] = None if shape is None else [str(size) for size in shape]
        return found

    return read


def test_a_size_survives_arithmetic_on_shapes(known):
    sizes = known(
        HEAD
        + """
        g (float[n, m, 12] x, float[n, k] z) => (float[a, b, c] y)
        <int64[1] twelve = {12}, int64[1] rest = {-1}, int64[1] two = {2}, int64[1] six = {6}>
        {
            n = Shape <start = 0, end = 1> (x)
            m = Shape <start = 1, end = 2> (x)
            half = Div (twelve, two)
            nm = Mul (n, m)
            s = Concat <axis = 0> (nm, half, rest)
            a = Reshape (x, s)
            t = Concat <axis = 0> (rest, m, six, two)
            b = Reshape (a, t)
            k = Shape <start = 1> (z)
            u = Add (k, n)
            c = ConstantOfShape (u)
            e = Transpose (b)
            y = ReduceSum (x)
        }
        """
    )
    assert sizes["a"] == ["m*n", "6", "2"]
    assert sizes["b"] == ["n", "m", "6", "2"]
    assert sizes["e"] == ["2", "6", "m", "n"]
    assert sizes["c"] == ["k + n"]


def test_broadcasting_keeps_what_is_certain(known):
    sizes = known(
        HEAD
        + """
        g (float[n, 1, m] x, float[n, 4, k] z) => (float[a, b, c] y)
        { y = Add (x, z)  e = Mul (x, x) }
        """
    )
    assert sizes["y"][:2] == ["n", "4"]
    assert sizes["y"][2] not in ("m", "k")
    assert sizes["e"] == ["n", "1", "m"]


def test_a_symbol_of_a_body_is_not_the_one_outside(known):
    sizes = known(
        """
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n] x) => (float[k] y)
        <int64 times = {3}, bool yes = {1}>
        {
            a = Exp (x)
            y = Loop (times, yes, x) <body = b (int64 i, bool c, float[n] grown) =>
                (bool go, float[m] next)
                {
                    go = Identity (c)
                    e = Exp (grown)
                    f = Exp (a)
                    next = Concat <axis = 0> (e, f)
                }
            >
        }
        """
    )
    assert sizes["a"] == ["n"]
    assert sizes["e"] not in (["n"], ["None"])


def test_a_negative_or_nameless_size_is_not_known(write):
    text = HEAD + "g (float[n, m] x) => (float[a, b] y) { y = Neg (x) }"
    model = ir.load(write(text))
    model.graph.inputs[0].shape = ir.Shape([-1, ir.SymbolicDim("")])
    assert KnownSizes(model).shape(model.graph.inputs[0]) == (None, None)
