"""Where engines keep what they compiled, so that the next load of a graph need not compile it.

An entry is a folder ``CACHE/GRAPH/KEY``: ``GRAPH`` names the bytes of the graph and of the weights
beside it, ``KEY`` the engine and its version, the plan and the processor. It is made in a folder
beside its place and moved there, under a lock, so that processes which start together compile once
and none sees half an entry. :data:`MOST_ENTRIES` of a graph and :data:`MOST_GRAPHS` graphs are
kept, those used last.

Reading every byte again would take longer than some engines need to load what they kept. So files
are trusted as long as their size and times are those of when they were read or written, as version
control does, and read again where they are not. Nothing that is kept is unpickled.
"""

import fcntl
import hashlib
import json
import mmap
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.processor import processor

#: Entries kept of one graph: a few plans of two or three engines, before and after an upgrade.
MOST_ENTRIES = 8
#: Graphs of which entries are kept.
MOST_GRAPHS = 64
#: Files whose digest is remembered.
_MOST_REMEMBERED = 512
#: A file that was written less than this before it was read may change without its time changing.
_SETTLED_NANOSECONDS = 2_000_000_000
_FORM = 1
_NAME_LENGTH = 24
_CONTENTS = "entry.json"
_MAKING = ".making-"
_LOCK = ".lock"
_DIGESTS = "digests"
#: How a graph names a file beside it: the entry ``location`` of a weight, in the ONNX encoding.
_LOCATION = b"\x0a\x08location\x12"

#: What could not be kept, and is made once for this process instead, by its name.
_unkept: dict[str, "tempfile.TemporaryDirectory[str]"] = {}


def cached(
    cache: Path, engine: str, path: Path, plan: EnginePlan, make: Callable[[Path], None]
) -> Path:
    """A folder that holds what ``make(folder)`` once wrote for the graph at ``path``.

    ``engine`` names the engine with its version. Where ``cache`` cannot be written and has no such
    entry, the folder is a temporary one that lives as long as this process.

    Raises:
        OSError: the graph cannot be read, or there is no room even for a temporary folder.
    """
    graph, key = _digest(path, cache)[:_NAME_LENGTH], _key(engine, plan)
    home = cache / graph
    entry = home / key
    made = False
    try:
        if not _is_whole(entry):
            home.mkdir(parents=True, exist_ok=True)
            with _alone(home):
                if not _is_whole(entry):
                    _put(entry, make)
                    _prune(home, keep=entry)
                    made = True
    except OSError:
        return _for_this_process(f"{graph}/{key}", make)
    if made:
        _forget_graphs(cache, keep=home)
    with suppress(OSError):  # a folder that others wrote: its age then counts from when it was made
        os.utime(entry)
        os.utime(home)
    return entry


def _key(engine: str, plan: EnginePlan) -> str:
    here = processor()
    deciding = {
        "form": _FORM,
        "engine": engine,
        "plan": plan.to_json(),
        "processor": [here.name, *here.isa],
        "system": [platform.system(), platform.machine()],
    }
    text = json.dumps(deciding, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_NAME_LENGTH]


def _put(entry: Path, make: Callable[[Path], None]) -> None:
    """Make an entry and move it to its place; what stands there, damaged, makes way."""
    making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=entry.parent))
    try:
        make(making)
        made = sorted(file for file in making.rglob("*") if file.is_file())
        for file in made:
            _to_disk(file)  # a crash must not leave a file of the right size and time, but empty
        _write(making / _CONTENTS, {_inside(making, file): _facts(file) for file in made})
        if entry.exists():
            entry.rename(making.with_name(making.name + "-old"))
        making.rename(entry)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _is_whole(entry: Path) -> bool:
    """Whether every file of an entry is as it was written."""
    try:
        contents = json.loads((entry / _CONTENTS).read_text(encoding="utf-8"))
        stale = [name for name, facts in contents.items() if _stamp(entry / name) != facts["stamp"]]
        if not stale:
            return True
        if any(_facts(entry / name)["sha256"] != contents[name]["sha256"] for name in stale):
            return False
        with suppress(OSError):  # copied here from elsewhere: from now on the times are these
            _write(entry / _CONTENTS, {name: _facts(entry / name) for name in contents})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _prune(home: Path, *, keep: Path) -> None:
    """Remove what was left half-made, and the entries that were used longest ago."""
    entries = []
    for folder in home.iterdir():
        if folder.name.startswith(_MAKING):  # its maker is gone, for this one holds the lock
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.is_dir() and folder != keep:
            entries.append((folder.stat().st_mtime_ns, folder))
    for _, folder in sorted(entries, reverse=True)[MOST_ENTRIES - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def _forget_graphs(cache: Path, *, keep: Path) -> None:
    """Remove all entries of the graphs that were used longest ago.

    Whoever has loaded one of them goes on: its files are mapped, or read. The lock stays, for
    others may be waiting for it; a graph whose lock is held is in use, and stays as it is.
    """
    homes = []
    with suppress(OSError):
        for folder in cache.iterdir():
            with suppress(OSError):
                if folder != keep and any(folder.glob(f"*/{_CONTENTS}")):
                    homes.append((folder.stat().st_mtime_ns, folder))
    for used, folder in sorted(homes, reverse=True)[MOST_GRAPHS - 1 :]:
        with suppress(OSError), _alone(folder, wait=False):
            if folder.stat().st_mtime_ns == used:
                for entry in folder.iterdir():
                    if entry.is_dir():
                        shutil.rmtree(entry, ignore_errors=True)


def _for_this_process(name: str, make: Callable[[Path], None]) -> Path:
    if name not in _unkept:
        folder = tempfile.TemporaryDirectory(prefix="lepton-unkept-")
        try:
            make(Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        _unkept[name] = folder
    return Path(_unkept[name].name)


@contextmanager
def _alone(home: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a graph's folder; it ends with the process, however that ends.

    Raises:
        BlockingIOError: another holds it, and this one does not ``wait``.
    """
    with (home / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks: the move at the end is atomic still
            pass
        yield


def stamps(path: Path) -> dict[str, list[int]]:
    """Sizes of a graph and of the files that it names, and when their content was changed last.

    Empty where they are gone.
    """
    try:
        return {str(file): _stamp(file)[:2] for file in _files_of(path)}
    except OSError:
        return {}


def _digest(path: Path, cache: Path) -> str:
    """The SHA-256 of a graph with the weights beside it, or of all that is in a folder."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:_NAME_LENGTH]
    note = cache / _DIGESTS / f"{place}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if all(_stamp(path.parent / name) == stamp for name, stamp in known["files"].items()):
            return str(known["digest"])
    before = {_inside(path.parent, file): _stamp(file) for file in _files_of(path)}
    whole = hashlib.sha256()
    for name in before:
        label = os.path.relpath(path.parent / name, path)  # whatever the graph itself is called
        whole.update(f"{label}\0{_facts(path.parent / name)['sha256']}\n".encode())
    newest = max((max(stamp[1:]) for stamp in before.values()), default=0)
    if path.is_file() and time.time_ns() - newest > _SETTLED_NANOSECONDS:
        _remember(note, {"files": before, "digest": whole.hexdigest()})
    return whole.hexdigest()


def _remember(note: Path, record: Mapping[str, Any]) -> None:
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        _write(note, record)
        notes = [(each.stat().st_mtime_ns, each) for each in note.parent.glob("*.json")]
        if len(notes) > _MOST_REMEMBERED:
            for _, each in sorted(notes)[: _MOST_REMEMBERED // 2]:
                each.unlink(missing_ok=True)


def _files_of(path: Path) -> Sequence[Path]:
    """The graph and the files that it names; what is in a folder, if it is one."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return [path]
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as graph:
            named = sorted({path.parent / name for name in _locations(graph)})
    return [path, *filter(_is_file, named)]


def _locations(graph: mmap.mmap) -> Iterator[str]:
    """The names of files in a serialised graph; bytes that only look like one do no harm."""
    at = graph.find(_LOCATION)
    while at >= 0:
        begin = at + len(_LOCATION)
        head = graph[begin : begin + 2]
        if not head:
            return
        # One byte tells the length, or two, the low seven bits first: no file's name is longer.
        length, size = (head[0], 1) if head[:1] < b"\x80" else ((head[0] & 0x7F) | head[-1] << 7, 2)
        with suppress(UnicodeDecodeError):
            yield graph[begin + size : begin + size + length].decode()
        at = graph.find(_LOCATION, begin)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file could have
        return False


def _facts(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {
            "stamp": _stamp(file),
            "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
        }


def _stamp(file: Path) -> list[int]:
    """Size, and when content and file were changed last, nanoseconds."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _write(file: Path, record: Mapping[str, Any]) -> None:
    scratch = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    scratch.write_text(json.dumps(record), encoding="utf-8")
    scratch.replace(file)


def _to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _inside(folder: Path, file: Path) -> str:
    return os.path.relpath(file, folder)
