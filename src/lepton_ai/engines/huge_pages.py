"""Memory in huge pages: large weights are then found without walking the tables of small ones.

Linux gives huge pages to those who ask. Transformers, whose time goes into reading their weights,
gain by them, and convolutional networks do not.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_USUAL_SIZE = 2 << 20
#: Advice to ``madvise``: use huge pages from now on; make what is there into huge pages at once
#: (Linux 6.1 on; before, the kernel does it by and by).
_HUGEPAGE, _COLLAPSE = 14, 25
#: Weights below this are found in the processor's own tables and caches.
WORTH_BYTES = 16 << 20


def huge_pages_here() -> bool:
    """Whether this system gives huge pages to those who ask."""
    try:
        return sys.platform == "linux" and "[never]" not in _SETTING.read_text()
    except OSError:
        return False


@contextmanager
def in_huge_pages(wanted: bool) -> Iterator[None]:
    """Put the large pieces of memory that are allocated in this context into huge pages.

    It is advice: where the system has no such pages, everything stays as it is.
    """
    if not (wanted and huge_pages_here()):
        yield
        return
    before = set(_allocated())
    yield
    advise = ctypes.CDLL(None).madvise
    size = _page_size()
    for begin, end in set(_allocated()) - before:
        first, last = -(-begin // size) * size, end // size * size
        if first < last:
            for advice in (_HUGEPAGE, _COLLAPSE):
                advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)


def _page_size() -> int:
    try:
        return int(_SIZE.read_text())
    except (OSError, ValueError):
        return _USUAL_SIZE


def _allocated() -> Iterator[tuple[int, int]]:
    """Where memory that is backed by no file, and may be written, begins and ends."""
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        places, rights, _, _, _, *name = line.split(maxsplit=5)
        if rights == "rw-p" and name in ([], ["[heap]"]):
            begin, end = (int(place, 16) for place in places.split("-"))
            yield begin, end
