"""A trained model, data and a budget in; the fastest artifact proven to meet the budget out.

The public names are loaded when they are first used, so that importing this package loads no
engine, no compiler and no compression library.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lepton_ai.bundle.load import load as load
    from lepton_ai.engines.conformance import check_engine as check_engine
    from lepton_ai.errors import LeptonError as LeptonError
    from lepton_ai.errors import UserError as UserError
    from lepton_ai.pipeline.advise import advise as advise
    from lepton_ai.pipeline.bench import bench as bench
    from lepton_ai.pipeline.check_compressor import check_compressor as check_compressor
    from lepton_ai.pipeline.inspect import inspect as inspect
    from lepton_ai.pipeline.optimize import optimize as optimize
    from lepton_ai.pipeline.rewrite import rewrite as rewrite
    from lepton_ai.plan.budget import Budget as Budget

    __version__: str

__all__ = [
    "Budget",
    "LeptonError",
    "UserError",
    "__version__",
    "advise",
    "bench",
    "check_compressor",
    "check_engine",
    "inspect",
    "load",
    "optimize",
    "rewrite",
]

_TARGETS = {
    "Budget": "lepton_ai.plan.budget:Budget",
    "LeptonError": "lepton_ai.errors:LeptonError",
    "UserError": "lepton_ai.errors:UserError",
    "advise": "lepton_ai.pipeline.advise:advise",
    "bench": "lepton_ai.pipeline.bench:bench",
    "check_compressor": "lepton_ai.pipeline.check_compressor:check_compressor",
    "check_engine": "lepton_ai.engines.conformance:check_engine",
    "inspect": "lepton_ai.pipeline.inspect:inspect",
    "load": "lepton_ai.bundle.load:load",
    "optimize": "lepton_ai.pipeline.optimize:optimize",
    "rewrite": "lepton_ai.pipeline.rewrite:rewrite",
}


def __getattr__(name: str) -> Any:
    """The public ``name``, loaded on first use (PEP 562)."""
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("lepton-ai")
    elif name in _TARGETS:
        from importlib import import_module

        module, _, attribute = _TARGETS[name].partition(":")
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
