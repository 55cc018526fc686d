"""A graph's file rewritten into another, each change proven; and what would be worth trying."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lepton_ai.compress.preparation import preparations, rules_named
from lepton_ai.errors import ModelError
from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.graph.proof import Proof
from lepton_ai.graph.rewrite import STANDARD, rewrites
from lepton_ai.graph.rewriting import Rewriting, rewrite_graph
from lepton_ai.graph.rule import rules
from lepton_ai.measure.answering import GraphAnswers
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.calibration import CalibrationFolder

#: The gate after each rule runs this many real calls; the trials compare hundreds afterwards.
_CALLS_COMPARED = 8
#: Preparations for int8 see this many.
_CALLS_SEEN = 32


def rewrite_file(
    rewrite: str,
    source: Path,
    target: Path,
    *,
    original: Path,
    calls: Sequence[Arrays],
    seen: Sequence[Arrays] = (),
) -> Rewriting:
    """Apply ``rewrite`` to ``source`` and write ``target``, which answers as ``original`` does.

    ``source`` is the original or a graph made from it; ``calls`` are compared after every rule.
    ``rewrite`` is one of the graph room's, or a preparation for int8, which looks at what is
    ``seen``, or at ``calls`` where nothing is.

    Raises:
        ModelError: ``source`` does not answer as ``original``, or nothing can be proven.
    """
    untouched = load_graph(original)
    rules = rules_named(rewrite, seen or calls)
    with GraphAnswers(untouched, calls) as answers:
        proof = Proof(answers, untouched)
        model = load_graph(source)
        found = proof.accept(model)
        if not found.equal:
            raise ModelError(f"{source.name} does not answer as the original does: {found.why}")
        model, rewriting = rewrite_graph(model, rules, proof)
        save_graph(model if rewriting.fired else load_graph(source), target)
    return rewriting


def rewrite(name: str, source: str, target: str, original: str, calibration: str) -> dict[str, Any]:
    """What a child process runs: a rewrite proven on some of the calibration calls; what it did."""
    most = _CALLS_SEEN if name in preparations.names() else _CALLS_COMPARED
    calls = list(islice(CalibrationFolder(Path(calibration)), most))
    done = rewrite_file(
        name,
        Path(source),
        Path(target),
        original=Path(original),
        calls=calls[:_CALLS_COMPARED],
        seen=calls,
    )
    return {"name": name, "words": list(done.in_words()), **done.to_json()}


def would_fire(source: str, engine: str) -> list[str]:
    """The rewrites that ``engine`` wants beside the standard one, and that would find work."""
    graph = load_graph(Path(source))
    infer_shapes(graph)
    found = []
    for name in rewrites(engine):
        try:
            if name != STANDARD and apply_rule(graph.clone(), rules.get(name)()).firings:
                found.append(name)
        except ModelError:  # the rule cannot take this graph
            continue
    return found
