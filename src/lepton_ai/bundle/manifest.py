"""What a bundle says about itself.

The file's text is a pure function of its content, and carries a SHA-256 of that content. A reader
writes the content out again and compares the bytes, so that not even a space in it can change.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any

from lepton_ai.bundle.layout import MANIFEST
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import BundleError, TamperedError
from lepton_ai.model.signature import Signature

FORMAT = "lepton-bundle"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a bundle: the SHA-256 of its bytes, in hexadecimal, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything in ``manifest.json``.

    ``files`` holds every other file by its POSIX path within the bundle. ``processing`` has the
    keys ``kind``, ``settings`` and ``files``, or is ``None``. ``isa`` has ``flags`` and ``engines``
    (versions): where the measurements and the certificate were made. ``golden`` has ``calls`` and
    ``tolerance``, the largest difference allowed in a replay relative to an output's scale.
    """

    name: str
    version: str
    created: str
    status: str
    metric: Any
    engine: str
    plan: EnginePlan
    signature: Signature
    processing: Mapping[str, Any] | None
    golden: Mapping[str, Any]
    isa: Mapping[str, Any]
    machine: Mapping[str, Any]
    recipe: Mapping[str, Any]
    measurements: Mapping[str, Any]
    lepton_version: str
    files: Mapping[str, FileEntry]
    format: str = FORMAT
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values, without the digest; the inverse of :meth:`parse`."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        record["plan"] = self.plan.to_json()
        record["signature"] = self.signature.to_json()
        record["files"] = {name: asdict(entry) for name, entry in self.files.items()}
        return finite(record)  # type: ignore[no-any-return]

    def to_text(self) -> str:
        """The text of ``manifest.json``, digest included."""
        content = self.to_json()
        return plain_text({**content, "digest": digest_of(content)})

    @classmethod
    def parse(cls, text: bytes) -> "Manifest":
        """The inverse of :meth:`to_text`.

        Raises:
            BundleError: not JSON, not a bundle's manifest, or written by a newer version.
            TamperedError: the content is not what the digest in it was taken of.
        """
        content = _read_record(text)
        digest = content.pop("digest", None)
        if (
            digest != digest_of(content)
            or text != plain_text({**content, "digest": digest}).encode()
        ):
            raise TamperedError(
                f"{MANIFEST} was changed after the bundle was made (its content does not have "
                "the digest in it); fetch the bundle again or make it anew"
            )
        try:
            return cls._from_record(content)
        except (KeyError, TypeError, AttributeError) as failure:
            raise BundleError(
                f"{MANIFEST} lacks or misstates {failure}; make the bundle anew"
            ) from failure

    @classmethod
    def _from_record(cls, content: dict[str, Any]) -> "Manifest":
        for name in content["files"]:
            check_file_name(name)
        parsed = {
            **content,
            "plan": EnginePlan.from_json(content["plan"]),
            "signature": Signature.from_json(content["signature"]),
            "files": {name: FileEntry(**entry) for name, entry in content["files"].items()},
        }
        return cls(**parsed)


def check_file_name(name: str) -> None:
    """Raise :class:`BundleError` unless ``name`` is a plain relative path inside the bundle."""
    path = PurePosixPath(name)
    plain = name == str(path) and not path.is_absolute() and "\\" not in name and "\0" not in name
    if not plain or ".." in path.parts or name in {"", ".", MANIFEST}:
        raise BundleError(
            f"{MANIFEST} names the file {name!r}, which is not a plain path inside the bundle; "
            "do not use a bundle from this source"
        )


def plain_text(record: Any) -> str:
    """JSON text that depends on nothing but the content of ``record``."""
    return json.dumps(record, sort_keys=True, indent=1, allow_nan=False) + "\n"


def digest_of(record: Any) -> str:
    """The SHA-256 of a record's plain text, in hexadecimal."""
    return hashlib.sha256(plain_text(record).encode()).hexdigest()


def finite(value: Any) -> Any:
    """``value`` as plain JSON: mappings to dictionaries, NaN and infinities to ``None``."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read_record(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise BundleError(
            f"{MANIFEST} is not valid JSON ({failure}); fetch the bundle again or make it anew"
        ) from failure
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BundleError(f"{MANIFEST} is not the manifest of a Lepton bundle; point at one")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"the bundle has schema version {version!r} and this Lepton reads {SCHEMA_VERSION}; "
            "upgrade with pip install -U lepton-ai"
        )
    return content
