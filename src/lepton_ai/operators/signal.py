"""Fourier transforms, the windows that go with them, and frequencies as they are heard."""

from typing import Any

import numpy as np

from lepton_ai.operators.accumulation import accumulated
from lepton_ai.operators.dtypes import FLOAT32, is_narrow
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, dtype_named, integers, operator

Host = np.ndarray[Any, Any]

_FLOAT = 1


@operator("DFT", host=("dft_length", "axis_input"))
@accumulated
def dft(
    call: Call,
    x: Tensor,
    dft_length: Host | None = None,
    axis_input: Host | None = None,
    *,
    axis: int = 1,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    """The discrete Fourier transform of ``x`` [..., 1 or 2], whose last axis is a complex number.

    The axis is an input from opset 20 on and an attribute before. A one-sided transform leaves out
    the frequencies that a real signal makes redundant; the inverse of one gives a real signal.
    """
    xp = call.xp
    if call.opset >= 20:
        axis = -2 if axis_input is None or not axis_input.size else integers(axis_input)[0]
    axis %= x.ndim
    length = None if dft_length is None or not dft_length.size else integers(dft_length)[0]
    dtype = xp.dtype_of(x)
    x = xp.cast(x, FLOAT32) if is_narrow(dtype) else x
    return xp.cast(_transformed(xp, x, axis, length, bool(inverse), bool(onesided)), dtype)


@operator("STFT", host=("frame_step", "frame_length"))
@accumulated
def stft(
    call: Call,
    signal: Tensor,
    frame_step: Host,
    window: Tensor | None = None,
    frame_length: Host | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """The transforms [N, frames, frequencies, 2] of frames of ``signal`` [N, L, 1 or 2].

    A frame is as long as the window if no length is given; samples after the last whole frame are
    left out.
    """
    xp = call.xp
    step = integers(frame_step)[0]
    if frame_length is not None and frame_length.size:
        length = integers(frame_length)[0]
    else:
        length = signal.shape[1] if window is None else window.shape[0]
    frames = (signal.shape[1] - length) // step + 1
    starts = xp.reshape(xp.positions(frames) * step, (-1, 1))
    index = xp.reshape(starts + xp.reshape(xp.positions(length), (1, -1)), (-1,))
    batch, _, parts = signal.shape
    cut = xp.reshape(xp.take(signal, index, axis=1), (batch, frames, length, parts))
    if window is not None:
        cut = cut * xp.reshape(window, (1, 1, -1, 1))
    dtype = xp.dtype_of(signal)
    cut = xp.cast(cut, FLOAT32) if is_narrow(dtype) else cut
    return xp.cast(_transformed(xp, cut, 2, None, False, bool(onesided)), dtype)


def _transformed(
    xp: Namespace, x: Tensor, axis: int, length: Any, inverse: bool, onesided: bool
) -> Tensor:
    real = x.shape[-1] == 1
    values = x[..., 0] if real else x[..., 0] + 1j * x[..., 1]
    if inverse and onesided:
        length = 2 * (x.shape[axis] - 1) if length is None else length
        return xp.expand_dims(xp.fft.irfft(values, n=length, axis=axis), axis=-1)
    if real and onesided:
        found = xp.fft.rfft(values, n=length, axis=axis)
    else:
        values = values if not real else values + 0j
        transform = xp.fft.ifft if inverse else xp.fft.fft
        found = transform(values, n=length, axis=axis)
    if onesided and not real:
        kept = found.shape[axis] // 2 + 1
        found = found[(*[slice(None)] * axis, slice(kept))]
    return xp.stack([xp.real(found), xp.imag(found)], axis=-1)


@operator("HannWindow", host=("size",))
def hann_window(
    call: Call, size: Host, *, output_datatype: int = _FLOAT, periodic: int = 1
) -> Host:
    """A raised cosine that begins at zero."""
    return _cosines(size, (0.5, -0.5), output_datatype, periodic)


@operator("HammingWindow", host=("size",))
def hamming_window(
    call: Call, size: Host, *, output_datatype: int = _FLOAT, periodic: int = 1
) -> Host:
    """A raised cosine that begins above zero."""
    return _cosines(size, (25 / 46, -21 / 46), output_datatype, periodic)


@operator("BlackmanWindow", host=("size",))
def blackman_window(
    call: Call, size: Host, *, output_datatype: int = _FLOAT, periodic: int = 1
) -> Host:
    """A sum of two cosines."""
    return _cosines(size, (0.42, -0.5, 0.08), output_datatype, periodic)


def _cosines(size: Host, terms: tuple[float, ...], output_datatype: int, periodic: int) -> Host:
    """The sum of ``terms[k] * cos(k * angle)`` for angles once around the circle."""
    count = integers(size)[0]
    around = count if periodic else max(count - 1, 1)
    angle = 2 * np.pi * np.arange(count) / around
    total = sum(term * np.cos(k * angle) for k, term in enumerate(terms))
    return np.asarray(total).astype(dtype_named(output_datatype))


@operator(
    "MelWeightMatrix",
    host=(
        "num_mel_bins",
        "dft_length",
        "sample_rate",
        "lower_edge_hertz",
        "upper_edge_hertz",
    ),
)
def mel_weight_matrix(
    call: Call,
    num_mel_bins: Host,
    dft_length: Host,
    sample_rate: Host,
    lower_edge_hertz: Host,
    upper_edge_hertz: Host,
    *,
    output_datatype: int = _FLOAT,
) -> Host:
    """Triangles [frequencies, bins], evenly apart on the mel scale, each from peak to peak."""
    bins, length, rate = (integers(one)[0] for one in (num_mel_bins, dft_length, sample_rate))
    edges = np.array([lower_edge_hertz, upper_edge_hertz], np.float64).reshape(2)
    low, high = 2595 * np.log10(1 + edges / 700)
    mels = low + np.arange(bins + 2) * ((high - low) / (bins + 2))
    peaks = ((length + 1) * (700 * (10 ** (mels / 2595) - 1)) // rate).astype(np.int64)
    left, centre, right = peaks[:-2], peaks[1:-1], peaks[2:]
    place = np.arange(length // 2 + 1)[:, None]
    rising = (place - left) / np.maximum(centre - left, 1)
    rising = np.where(centre == left, 1.0, rising) * ((place >= left) & (place <= centre))
    falling = (right - place) / np.maximum(right - centre, 1)
    weights = np.where((place >= centre) & (place < right), falling, rising)
    return np.asarray(weights).astype(dtype_named(output_datatype))
