"""What a child process runs to compress a graph into another."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lepton_ai.compress.compressor import named_compressor, storages
from lepton_ai.compress.finish import finish
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.errors import ModelError
from lepton_ai.graph.graph_report import NodeTime
from lepton_ai.measure.profile import CALLS
from lepton_ai.plan.calibration import CalibrationFolder


def compress(name: str, source: str, target: str, calibration: str) -> None:
    """Apply a compressor, with the calibration calls kept in a folder; then finish for engines."""
    compressor = named_compressor(name)
    availability = compressor.available()
    if not availability.ok:
        raise ModelError(f"{name} cannot run here: {availability.reason}; {availability.remedy}")
    compressor.compress(Path(source), Path(target), CalibrationFolder(Path(calibration)))
    if name not in storages.names():
        finish(Path(target))


def put_back(name: str, source: str, target: str, quantised: str, nodes: Sequence[str]) -> None:
    """What the compressor ``name`` made of ``source``, with ``nodes`` in floating point again."""
    from lepton_ai.compress.put_back import put_back as put_back_in

    put_back_in(Path(source), Path(quantised), Path(target), nodes)
    finish(Path(target))


def store_tables(name: str, source: str, target: str) -> None:
    """The graph ``source``, the tables that rows are looked up in stored in 4 bits."""
    from lepton_ai.compress.int4_tables import store_tables as store_tables_in

    store_tables_in(name, Path(source), Path(target))
    finish(Path(target))


def sensitivity(source: str, quantised: str, calibration: str) -> list[tuple[str, float]]:
    """The nodes of a quantised graph with the noise that each alone makes, greatest first."""
    from lepton_ai.compress.sensitivity import sensitivity as noise_of_nodes

    return noise_of_nodes(Path(source), Path(quantised), CalibrationFolder(Path(calibration)))


def slower(
    source: str, quantised: str, shipped: str, calibration: str, engine: str, threads: int
) -> dict[str, Any]:
    """The ``nodes`` of a quantised graph that take ``engine`` longer than in floating point.

    With the ``reasons``.
    """
    from lepton_ai.compress.graph_file import prepare
    from lepton_ai.compress.slower import slower_nodes

    feed = next(iter(CalibrationFolder(Path(calibration))))
    plan = EnginePlan(threads=threads)

    def profiled(path: Path) -> Sequence[NodeTime]:
        return engines.get(engine)().profile(path, plan, feed, CALLS)

    with tempfile.TemporaryDirectory(prefix="lepton-slower-") as folder:
        plain = prepare(Path(source), Path(folder))
        return asdict(slower_nodes(plain, Path(quantised), Path(shipped), profiled))
