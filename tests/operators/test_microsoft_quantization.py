"""ONNX Runtime's operators on integers, against ONNX Runtime."""

import numpy as np
import pytest
from against_onnxruntime import compiled, near, same

from lepton_ai.operators.namespace import namespaces

draw = np.random.default_rng(0)
DTYPES = [np.uint8, np.int8]


@pytest.fixture(params=["numpy", "torch"])
def namespace(request):
    """The libraries that need not compile every step; JAX compiles a few of these as a whole."""
    pytest.importorskip(request.param)
    return namespaces.get(request.param)()


def floats(*shape):
    return draw.standard_normal(shape).astype(np.float32)


def whole(dtype, *shape):
    limits = np.iinfo(dtype)
    return draw.integers(limits.min, limits.max + 1, shape).astype(dtype)


def parts(dtype, scale=0.0217, zero=3):
    """A scale and a zero point; ratios of such scales leave little halfway between integers."""
    return np.array(scale, np.float32), np.array(zero, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["QLinearAdd", "QLinearMul"])
def test_of_two(namespace, name, dtype):
    a, b = whole(dtype, 3, 40), whole(dtype, 40)
    given = [a, *parts(dtype), b, *parts(dtype, 0.0313, 5), *parts(dtype, 0.0531, 7)]
    near(namespace, name, given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_one(namespace, dtype):
    given = [whole(dtype, 3, 40), *parts(dtype), *parts(dtype, 0.0313, 7)]
    near(namespace, "QLinearSigmoid", given)
    near(namespace, "QLinearLeakyRelu", given, alpha=0.1)
    # A softmax is quantised to the range that it has.
    given[3:] = parts(dtype, 1 / 256, np.iinfo(dtype).min)
    near(namespace, "QLinearSoftmax", given, axis=-1, opset=13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [0, 1])
def test_pools(namespace, dtype, channels_last):
    shape = (1, 8, 8, 64) if channels_last else (1, 64, 8, 8)
    given = [whole(dtype, *shape), *parts(dtype), *parts(dtype, 0.0131, 7)]
    near(namespace, "QLinearGlobalAveragePool", given, channels_last=channels_last)
    options = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    near(namespace, "QLinearAveragePool", given, channels_last=channels_last, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_side_by_side(namespace, dtype):
    pairs = [whole(dtype, 2, 30), *parts(dtype), whole(dtype, 2, 20), *parts(dtype, 0.0313, 5)]
    near(namespace, "QLinearConcat", [*parts(dtype, 0.0431, 1), *pairs], axis=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_either(namespace, dtype):
    condition = draw.integers(0, 2, (3, 40)).astype(bool)
    a, b = whole(dtype, 3, 40), whole(dtype, 3, 40)
    given = [a, *parts(dtype), b, *parts(dtype, 0.0313, 5), *parts(dtype, 0.0431, 1)]
    near(namespace, "QLinearWhere", [condition, *given])


@pytest.mark.parametrize("by_column", [False, True])
def test_gemm(namespace, by_column):
    columns = draw.uniform(0.01, 0.03, 6).astype(np.float32)
    scale = columns if by_column else np.array(0.02, np.float32)
    zero = np.zeros(6, np.int8) if by_column else np.array(0, np.int8)
    c = draw.integers(-500, 500, 6).astype(np.int32)
    given = [whole(np.uint8, 5, 7), *parts(np.uint8), whole(np.int8, 6, 7), scale, zero, c]
    same(namespace, "QGemm", given, transB=1, alpha=1.0)
    near(namespace, "QGemm", [*given, *parts(np.uint8, 0.1, 100)], transB=1, alpha=1.0)


@pytest.mark.parametrize("by_column", [False, True])
def test_products_in_floats(namespace, by_column):
    columns = draw.uniform(0.01, 0.03, 6).astype(np.float32)
    scale = columns if by_column else np.array(0.02, np.float32)
    zero = draw.integers(-5, 5, 6).astype(np.int8) if by_column else np.array(3, np.int8)
    a, b, bias = whole(np.uint8, 5, 7), whole(np.int8, 7, 6), floats(6)
    x_scale, x_zero = parts(np.uint8)
    same(namespace, "MatMulIntegerToFloat", [a, b, x_scale, scale, x_zero, zero, bias])
    same(namespace, "DynamicQuantizeMatMul", [floats(5, 7), b, scale, zero, bias])
    same(namespace, "DynamicQuantizeMatMul", [floats(5, 7), b, scale])


def test_of_sixteen_bits(namespace):
    if namespace.name != "numpy":
        pytest.skip("the other libraries have no arithmetic of unsigned integers of 16 bits")
    x = floats(4, 30)
    given = [x, *parts(np.uint16, 0.0001, 30000)]
    near(namespace, "QuantizeLinear", given)
    same(namespace, "DequantizeLinear", [whole(np.uint16, 4, 30), *parts(np.uint16, 0.01, 300)])


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_of_few_bits(namespace, bits, zeros):
    inner, outer, block = 48, 6, 32
    blocks = -(-inner // block)
    packed = whole(np.uint8, outer, blocks, block * bits // 8)
    scales = draw.uniform(0.01, 0.1, outer * blocks).astype(np.float32)
    given = [floats(3, inner), packed, scales]
    if zeros:
        given.append(whole(np.uint8, outer * -(-blocks * bits // 8)))
    options = {"K": inner, "N": outer, "bits": bits, "block_size": block}
    same(namespace, "MatMulNBits", given, tolerance={"rtol": 1e-4, "atol": 1e-4}, **options)


def test_products_are_compiled():
    a, b, bias = floats(5, 7), whole(np.int8, 7, 6), floats(6)
    compiled("DynamicQuantizeMatMul", [a, b, *parts(np.int8), bias])
    packed, scales = whole(np.uint8, 6, 2, 16), draw.uniform(0.01, 0.1, 12).astype(np.float32)
    options = {"K": 48, "N": 6, "bits": 4, "block_size": 32}
    compiled("MatMulNBits", [floats(3, 48), packed, scales], **options)
