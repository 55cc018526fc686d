"""How much each quantised node by itself moves a network's answers.

A node is taken with its rounded inputs from the quantised graph into a copy of the one in floating
point, which then answers the same calls. That tells more than a comparison of the two graphs layer
by layer: there each layer carries the errors of all before it, and none says what it does to the
answers.
"""

import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lepton_ai.compress.graph_file import prepare
from lepton_ai.compress.rounded import Rounded
from lepton_ai.compress.running import answers
from lepton_ai.errors import DataError
from lepton_ai.formats.quiet import quiet
from lepton_ai.model.signature import Arrays

#: Calls that are compared; fewer where a network has many nodes, or is slow.
MOST_CALLS = 16
FEWEST_CALLS = 2
#: Seconds for the calls of all nodes together; after so many times as long no further node is
#: looked at.
SECONDS, TIMES_AS_LONG = 60.0, 2.5


def sensitivity(
    source: Path, quantised: Path, calibration: Iterable[Arrays], *, seconds: float = SECONDS
) -> list[tuple[str, float]]:
    """The nodes of ``quantised`` that read rounded values, and the noise that each alone makes.

    ``quantised`` is what a compressor made of ``source``; nodes are named as
    :func:`~lepton_ai.compress.graph_file.prepare` names them. The noise is the energy of what the
    answers change by, as a share of the energy of the answers about their mean: 0.01 is a ratio of
    signal to noise of 20 dB. Greatest first; nodes without effect are left out. The calls of all
    nodes take about ``seconds``.

    Raises:
        ModelError: a graph cannot be read, or does not run.
        DataError: ``calibration`` is empty, or the network answers none of it with numbers.
    """
    calls = list(islice(calibration, MOST_CALLS))
    end = time.monotonic() + TIMES_AS_LONG * seconds
    with tempfile.TemporaryDirectory(prefix="lepton-sensitivity-") as folder, quiet():
        plain = onnx.load(prepare(source, Path(folder)))
        rounded = Rounded(plain, onnx.load(quantised))
        calls, before = _answered(plain, calls, len(rounded.names), seconds)
        signal = _energies(before)
        found = []
        for name in rounded.names:
            if time.monotonic() > end:
                break
            with rounded.only(name) as model:
                noise = _noise(before, list(answers(model, calls)), signal)
            if noise > 0:
                found.append((name, noise))
    return sorted(found, key=lambda pair: -pair[1])


def noise_of_whole(source: Path, quantised: Path, calibration: Iterable[Arrays]) -> float:
    """The noise that the graph ``quantised`` makes as a whole; arguments as :func:`sensitivity`.

    Raises:
        ModelError: a graph cannot be read, or does not run.
        DataError: ``calibration`` is empty, or the network answers none of it with numbers.
    """
    calls = list(islice(calibration, MOST_CALLS))
    with quiet():
        calls, before = _answered(onnx.load(source), calls, 1, SECONDS)
        after = list(answers(onnx.load(quantised), calls))
    return _noise(before, after, _energies(before))


def _answered(
    plain: onnx.ModelProto, calls: Sequence[Arrays], nodes: int, seconds: float
) -> tuple[list[Arrays], list[list[Any]]]:
    """As many of ``calls`` as can be asked for each of the nodes, with the answers to them."""
    begin = time.perf_counter()
    pairs = list(zip(calls, answers(plain, calls), strict=True))
    a_call = (time.perf_counter() - begin) / max(len(calls), 1)
    good = [(feed, outputs) for feed, outputs in pairs if all(map(_is_finite, outputs))]
    if not good:
        raise DataError("which nodes suffer from int8 is found out by samples, and none came")
    affordable = int(seconds / max(nodes * a_call, 1e-9))
    good = good[: max(FEWEST_CALLS, affordable)]
    return [feed for feed, _ in good], [outputs for _, outputs in good]


def _noise(
    before: Sequence[Sequence[Any]], after: Sequence[Sequence[Any]], signal: Sequence[float]
) -> float:
    """The energy of what changed, over that of the answers; of the output that it harms most."""
    worst = 0.0
    for place, energy in enumerate(signal):
        pairs = [(was[place], now[place]) for was, now in zip(before, after, strict=True)]
        changed = sum(_energy_of_change(was, now) for was, now in pairs)
        if energy > 0:  # what answers the same to every call cannot tell
            worst = max(worst, changed / energy)
    return worst


def _energies(answered: Sequence[Sequence[Any]]) -> list[float]:
    """Of each output over all calls: about its mean if it is of floating point, else its size."""
    found = []
    for outputs in zip(*answered, strict=True):
        arrays = [np.asarray(output) for output in outputs]
        if arrays[0].dtype.kind != "f":
            found.append(float(sum(array.size for array in arrays)))
            continue
        flat = np.concatenate([array.reshape(-1).astype(np.float64) for array in arrays])
        found.append(float(np.square(flat - flat.mean()).sum()) if flat.size else 0.0)
    return found


def _energy_of_change(was: Any, now: Any) -> float:
    """Of floating-point values; of others, the number of those that are not the same."""
    was, now = np.asarray(was), np.asarray(now)
    if was.dtype.kind != "f":
        same = was.shape == now.shape
        return float((was != now).sum() if same else max(was.size, now.size))
    if was.shape != now.shape:  # as many boxes as were found
        return max(float(np.square(each, dtype=np.float64).sum()) for each in (was, now))
    if not np.isfinite(now).all():
        return math.inf
    return float(np.square(now.astype(np.float64) - was.astype(np.float64)).sum())


def _is_finite(output: Any) -> bool:
    array = np.asarray(output)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
