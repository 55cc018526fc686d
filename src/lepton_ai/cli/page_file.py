"""A page written in one step, so that there is never half of it."""

import os
import tempfile
from pathlib import Path

from lepton_ai.errors import OutputError

#: A page replaces the page that is there, and never another kind of file.
PAGE_SUFFIXES = (".html", ".htm")


def check_page_file(target: Path) -> None:
    """Refuse, before any work is done, a path that no page can be written to.

    Raises:
        OutputError: ``target`` is a folder or is not called like a page, or its folder is missing
            or cannot be written to.
    """
    if target.is_dir():
        raise OutputError(f"the page wants a file to be written to, and {target} is a folder")
    if target.suffix.lower() not in PAGE_SUFFIXES:
        raise OutputError(f"the page is an HTML file, NAME.html, and not {target}")
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{target} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{target} cannot be written: {folder} may not be written to")


def write_page(page: str, target: Path) -> None:
    """Write ``page`` to ``target``, in the place of what is there.

    Raises:
        OutputError: ``target`` cannot be written.
    """
    check_page_file(target)
    try:
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as failure:
        raise OutputError(f"{target} cannot be written: {failure.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(page)
        # A temporary file is for its owner alone; a page is to be shown around.
        Path(partial).chmod(0o644)
        Path(partial).replace(target)
    except OSError as failure:
        raise OutputError(f"{target} cannot be written: {failure.strerror}") from None
    finally:
        Path(partial).unlink(missing_ok=True)
