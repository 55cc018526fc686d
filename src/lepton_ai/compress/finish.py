"""A quantised graph in the form that one engine computes fastest.

Engines fuse different things into integer arithmetic. What one of them cannot fuse costs it more
than floating point would, and is what another is fast by: so a quantised graph stays as its
compressor made it, and an engine that wants another form has one of its own beside it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_ai.errors import ModelError
from lepton_ai.formats.quiet import quiet
from lepton_ai.registry import Registry

if TYPE_CHECKING:  # those who only look for a form need not wait for the library
    import onnx

#: Changes a quantised graph into what an engine wants of it; says whether there was anything to do.
Finish = Callable[["onnx.ModelProto"], bool]

finishes: Registry[Finish] = Registry("finishes", extra="optimize")
finishes.register("onnxruntime", "lepton_ai.compress.finish_onnxruntime:finish")


def finish(path: Path) -> None:
    """Write the forms that engines want of the quantised graph at ``path``, each in a folder.

    An engine that does not take the graph gets no form of its own: it will say so when it is asked
    to load it.
    """
    import onnx

    for engine, change in finishes.items():
        model = onnx.load(path)
        try:
            with quiet():
                changed = change(model)
        except ModelError:
            continue
        if changed:
            target = _place(path, engine)
            target.parent.mkdir(exist_ok=True)
            onnx.save(model, target)


def finished(path: Path, engine: str) -> Path:
    """The form of the quantised graph at ``path`` for ``engine``: its own, or the graph itself."""
    own = _place(path, engine)
    return own if own.exists() else path


def _place(path: Path, engine: str) -> Path:
    return path.parent / engine / path.name
