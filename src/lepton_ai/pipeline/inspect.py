"""All that can be told of a network before anything is changed: its graph, and what engines say.

The graph is analysed as it is. Then every engine that is installed is asked whether it takes it,
and one of them where its time goes, on made-up inputs; each in a process of its own, with a limit,
so that the worst an engine can do is cost a note.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lepton_ai.errors import EngineUnavailableError, LeptonError
from lepton_ai.formats.read import read
from lepton_ai.formats.torch_module import left_as_found
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.graph_report import Fit, GraphReport, Profile
from lepton_ai.graph.inspection.inspect import inspect_graph
from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.graph.rewrite import STANDARD, rules_of
from lepton_ai.graph.rewriting import rewrite_graph
from lepton_ai.graph.rule import Firing
from lepton_ai.measure.fit import fit
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.profile import profile as profile_in
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.space import named_engine, shipping_engines

#: The analysis of a larger graph is a matter of seconds, and engines would be most of the wait:
#: OpenVINO compiled a chain of 20,000 nodes in 16 s, and each engine compiles three times (to be
#: asked, timed and profiled). A language model of 32 layers, operator by operator, stays below.
#: Engines that are asked by name always answer.
MOST_NODES_UNASKED = 5_000
PROFILE_SECONDS = 120.0
#: Made-up calls that are tried until the graph accepts one.
_MOST_TRIED = 4


def inspect(
    model: Any,
    *,
    engines: Sequence[str] | None = None,
    profile: str | None = None,
    example: Arrays | None = None,
) -> GraphReport:
    """What ``model`` computes, what in it is redundant, and what the engines here say of it.

    ``model`` is an ONNX file, a Hugging Face folder or a ``torch.nn.Module``. ``engines`` are asked
    whether they take it: by default all that are installed, none where the sequence is empty.
    ``profile`` names the one whose time is broken down: by default the first that takes the graph.
    ``example`` is a batch of inputs by name, which a module needs; it is profiled on that.

    Raises:
        UserError: the model cannot be read, or no engine is called so; the message says why.
    """
    asked = engines is not None or profile is not None
    names = _names(engines)
    if profile is not None:
        names = [*names, *(name for name in _names([profile]) if name not in names)]
    with TemporaryDirectory(prefix="lepton-inspect-") as folder, left_as_found(model):
        known = read(model, Path(folder), example)
        report = inspect_graph(known.path)
        report = replace(report, notes=(*report.notes, *known.notes))
        if names and report.nodes > MOST_NODES_UNASKED and not asked:
            note = f"the graph has {report.nodes} nodes, so no engine was asked; name one to ask it"
            return replace(report, notes=(*report.notes, note))
        report = _unlocked(ask_fit(report, known.path, names), known.path, Path(folder))
        chosen = [profile] if profile else [one.engine for one in report.fits if one.takes]
        if not chosen:
            return report
        return ask_profile(report, known.path, chosen[0], example)


def ask_fit(
    report: GraphReport,
    path: Path,
    names: Sequence[str],
    *,
    rewritten: Path | None = None,
    firings: Sequence[Firing] = (),
) -> GraphReport:
    """``report`` with what each of the engines ``names`` says of the graph at ``path``.

    ``rewritten`` is the graph that ``firings`` made of it: where an engine takes that one, the rule
    that changed a refused node is named as what unlocks it.
    """
    rules: dict[str, str] = {}
    for firing in firings:
        for node in firing.nodes:
            rules.setdefault(node, firing.rule)
    fits: list[Fit] = []
    notes: list[str] = []
    for name in names:
        try:
            fits.append(fit(name, path, rewritten, unlocking=rules))
        except LeptonError as failure:
            notes.append(f"{name} could not be asked: {failure}")
    return replace(report, fits=tuple(fits), notes=(*report.notes, *notes))


def _unlocked(report: GraphReport, path: Path, folder: Path) -> GraphReport:
    """``report`` with the engines that refused the graph asked again, once it is rewritten."""
    refused = [fit.engine for fit in report.fits if not fit.takes]
    if not refused:
        return report
    rewritten = folder / "rewritten.onnx"
    try:  # unproven: it is asked whether it would be taken, and then thrown away
        graph, done = rewrite_graph(load_graph(path), rules_of(STANDARD))
        save_graph(graph, rewritten)
    except LeptonError as failure:
        note = f"what a rewrite would unlock is not known: {failure}"
        return replace(report, notes=(*report.notes, note))
    again = ask_fit(report, path, refused, rewritten=rewritten, firings=done.fired)
    better = {fit.engine: fit for fit in again.fits}
    return replace(report, fits=tuple(better.get(fit.engine, fit) for fit in report.fits))


def ask_profile(
    report: GraphReport, path: Path, engine: str, example: Arrays | None = None
) -> GraphReport:
    """``report`` with where the time of ``engine`` goes, on ``example`` or a made-up call."""
    try:
        feeds = [example] if example is not None else _made_up(path, report)
    except LeptonError as failure:
        return _unprofiled(report, engine, failure)
    reason: LeptonError | None = None
    for feed in feeds:
        try:
            return replace(report, profile=_profile(path, engine, feed))
        except LeptonError as failure:
            reason = reason or failure
            if isinstance(failure, EngineUnavailableError):
                break
    assert reason is not None, "there is at least one feed"
    return _unprofiled(report, engine, reason)


def _profile(path: Path, engine: str, feed: Arrays) -> Profile:
    with TemporaryDirectory(prefix="lepton-profile-") as folder:
        return profile_in(
            engine,
            path,
            feed,
            Path(folder) / "log.txt",
            threads=fingerprint().cores,
            timeout=PROFILE_SECONDS,
        )


def _unprofiled(report: GraphReport, engine: str, reason: LeptonError) -> GraphReport:
    note = f"where the time of {engine} goes is not known: {reason}"
    return replace(report, notes=(*report.notes, note))


def _made_up(path: Path, report: GraphReport) -> list[Arrays]:
    """Calls to try: first at the sizes that the report counts at, so that both tell of one call."""
    graph = load_graph(path)
    counted = generate(graph, sizes=[report.sizes])[:1] if report.sizes else []
    return [*counted, *generate(graph)][:_MOST_TRIED]


def _names(wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return [engine.name for engine in shipping_engines()]
    return [named_engine(name).name for name in wanted]
