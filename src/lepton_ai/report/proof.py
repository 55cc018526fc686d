"""The certificate in words, with the numbers that support it."""

from lepton_ai.report.quantities import amount, count, limit, percent, shown, significant
from lepton_ai.report.reading import Record, number, part, text, texts


def section(record: Record) -> str:
    """What is claimed and how it was shown; empty where nothing was certified."""
    certificate = part(record, "certificate")
    if not certificate:
        return ""
    facts = "".join(
        f"<div><dt>{label}</dt><dd>{shown(value)}</dd></div>"
        for label, value in _facts(record, certificate)
        if value
    )
    state = "holds" if certificate.get("holds") else "open"
    return (
        f'<section><h2>Certificate</h2><blockquote class="{state}">'
        f"{shown(text(certificate, 'claim'))}</blockquote>"
        f'<dl class="facts">{facts}</dl>{_meaning(certificate)}</section>'
    )


def _facts(record: Record, certificate: Record) -> list[tuple[str, str]]:
    confidence, alpha = number(certificate, "confidence"), number(certificate, "alpha")
    equal = bool(certificate.get("equal"))
    engines = part(certificate, "engines")
    facts = [
        ("Bound on the drop", limit(number(certificate, "bound"))),
        ("Drop allowed", amount(number(certificate, "max_drop"))),
        ("Drop observed", amount(number(certificate, "drop"))),
        ("Samples compared" if equal else "Unseen samples", count(number(certificate, "n"))),
        ("Outcomes that differ", count(number(certificate, "changed"))),
    ]
    losses, gains = number(certificate, "losses"), number(certificate, "gains")
    if losses is not None and gains is not None:
        facts.append(("Got worse, got better", f"{count(losses)}, {count(gains)}"))
    if confidence is not None and not equal:
        spent = "" if alpha is None else f" (error spent on this artifact: {significant(alpha, 2)})"
        facts.append(("Confidence", f"{percent(confidence)}{spent}"))
    needed = number(certificate, "more_samples_needed")
    if needed is not None:
        facts.append(("Unseen samples that would do", f"about {count(needed)}"))
    return [
        *facts,
        ("Method", text(certificate, "method")),
        ("Instruction sets", ", ".join(texts(certificate, "isa"))),
        ("Engines", ", ".join(f"{name} {version}" for name, version in engines.items())),
        ("Metric", text(record, "metric", "describe")),
        ("Samples", _splits(part(record, "samples"))),
    ]


def _splits(samples: Record) -> str:
    known = [(name, number(samples, name)) for name in ("calibrate", "tune", "certify")]
    return ", ".join(f"{count(size)} to {name}" for name, size in known if size is not None)


def _meaning(certificate: Record) -> str:
    if certificate.get("equal"):
        return ""
    return (
        '<p class="small">The samples of the certify split took no part in the search. If they are '
        "drawn like those that the model will meet, the claim is wrong in at most the stated share "
        "of searches. It speaks of the artifact as shipped, in the engine and on the instruction "
        "sets named here, and of no other data.</p>"
    )
