"""The cases of ``make bench-compress``, one file each."""

import importlib

from compress_cases.case import Case

#: In the order of the table.
NAMES = ("efficientnet", "minilm", "centernet", "depthwise", "outliers", "embedding")


def case(name: str) -> Case:
    """The case ``name``, which is the name of its file."""
    found: Case = importlib.import_module(f"compress_cases.{name}").CASE
    return found
