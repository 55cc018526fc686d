"""What makes a network easier to quantise and leaves its answers as they are: rules with samples.

Rules of the graph room see a graph alone; these are made with calibration calls. They are applied
and proven like the others.
"""

from collections.abc import Callable, Sequence

from lepton_ai.graph.rewrite import rules_of
from lepton_ai.graph.rule import Rule
from lepton_ai.model.signature import Arrays
from lepton_ai.registry import Registry

#: Calls from which a rule is made.
Preparation = Callable[[Sequence[Arrays]], Rule]

preparations: Registry[Preparation] = Registry("preparations", extra="optimize")
preparations.register("equalise-channels", "lepton_ai.compress.equalise_channels:EqualiseChannels")


def rules_named(name: str, calls: Sequence[Arrays]) -> list[Rule]:
    """The rule of a preparation, made with ``calls``, or the rules of a rewrite.

    Raises:
        UnknownNameError: neither is called so.
    """
    if name in preparations.names():
        return [preparations.get(name)(calls)]
    return rules_of(name)
