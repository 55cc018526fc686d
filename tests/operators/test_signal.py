"""Fourier transforms against NumPy's, and what belongs to them."""

import numpy as np
import pytest
import scipy.signal
import torch

RNG = np.random.default_rng(0)


def parts(x):
    return np.stack([x.real, x.imag], axis=-1)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("length", [None, 6, 12])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("inverse", [0, 1])
def test_complex_transforms_are_numpys(one_node, opset, length, axis, inverse):
    x = RNG.normal(size=(2, 9, 10, 2)).astype(np.float32)
    inputs = [x, None if length is None else np.array(length)]
    options = {"inverse": inverse, **({"axis": axis} if opset < 20 else {})}
    inputs += [np.array(axis - 4)] if opset >= 20 else []
    (y,) = one_node("DFT", inputs, opset=opset, **options)
    transform = np.fft.ifft if inverse else np.fft.fft
    wanted = parts(transform(x[..., 0] + 1j * x[..., 1], n=length, axis=axis))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [9, 10])
def test_a_one_sided_transform_comes_back(one_node, size):
    x = RNG.normal(size=(2, size, 1)).astype(np.float32)
    (half,) = one_node("DFT", [x], opset=20, onesided=1)
    np.testing.assert_allclose(half, parts(np.fft.rfft(x[..., 0])), rtol=1e-4, atol=1e-5)
    (back,) = one_node("DFT", [half, np.array(size)], opset=20, onesided=1, inverse=1)
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("onesided", [0, 1])
def test_short_time_transforms_are_pytorchs(one_node, onesided):
    x = RNG.normal(size=(2, 50, 1)).astype(np.float32)
    window = np.hanning(16).astype(np.float32)
    (y,) = one_node("STFT", [x, np.array(5), window], onesided=onesided)
    wanted = torch.stft(
        torch.from_numpy(x[..., 0]),
        16,
        5,
        window=torch.from_numpy(window),
        center=False,
        onesided=bool(onesided),
        return_complex=True,
    )
    np.testing.assert_allclose(y, parts(wanted.numpy().swapaxes(1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize(
    ("operator", "name"), [("HannWindow", "hann"), ("BlackmanWindow", "blackman")]
)
def test_windows_are_scipys(one_node, periodic, operator, name):
    (y,) = one_node(operator, [np.array(9)], periodic=periodic)
    wanted = scipy.signal.get_window(name, 9, fftbins=bool(periodic))
    np.testing.assert_allclose(y, wanted, atol=1e-6)


def test_a_window_in_another_dtype(one_node):
    (y,) = one_node("HammingWindow", [np.array(5)], output_datatype=11)
    assert y.dtype == np.float64
    assert y[0] == pytest.approx(4 / 46)
