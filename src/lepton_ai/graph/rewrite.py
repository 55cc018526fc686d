"""The rewrites that a recipe can name: the standard one, and one per rule that an engine wants.

``standard`` is every rule whose result each engine can take, and is right to have anywhere. A rule
that only some engines want may cost more than it saves, on this machine and for this graph, so each
is a rewrite of its own, which is timed before it is kept.
"""

from lepton_ai.errors import UnknownNameError
from lepton_ai.graph.rule import Rule, rules

STANDARD = "standard"


def rewrites(engine: str | None = None) -> tuple[str, ...]:
    """The names of all rewrites, ``standard`` first; only those that ``engine`` wants, if given."""
    wanted = [
        name
        for name, rule in rules.items()
        if rule.engines and (engine is None or engine in rule.engines)
    ]
    return (STANDARD, *wanted)


def rules_of(rewrite: str) -> list[Rule]:
    """The rules of one rewrite, in order; a rule's own is followed by the standard ones.

    Raises:
        UnknownNameError: no rewrite is called that.
    """
    if rewrite not in rewrites():
        raise UnknownNameError(
            f"no rewrite is called {rewrite!r}; known are: {', '.join(rewrites())}"
        )
    standard = [rule() for _, rule in rules.items() if not rule.engines]
    return standard if rewrite == STANDARD else [rules.get(rewrite)(), *standard]
