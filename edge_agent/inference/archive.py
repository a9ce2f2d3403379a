"""``.edgemodel`` files: a bundle as one zip. Reading distrusts the zip; writing is reproducible.

A zip from anywhere may name files outside its folder, repeat a name, hide links, or unfold to a terabyte.
So the members are not taken at their word: only the plain names that ``bundle.json`` lists are written,
never more bytes than it declares, and the folder appears under its name when all of it is there and right.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge_agent.errors import BundleError
from edge_agent.files import sync_folder, write_atomic
from edge_agent.inference.manifest import MANIFEST_NAME, FileRecord, Manifest, parse_manifest

MOST_MANIFEST_BYTES: Final = 1 << 20
MOST_BUNDLE_BYTES: Final = 1 << 29
_MOST_MEMBERS: Final = 64
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_BLOCK_BYTES: Final = 1 << 20
ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)


def write_zip(folder: Path, names: Iterable[str], archive: Path) -> None:
    """Write the files ``names`` of ``folder`` as a zip: the same files give the same bytes.

    Raises:
        OSError: a file cannot be read or the zip not be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as output:
        for name in sorted(names):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            output.writestr(member, (folder / name).read_bytes())
    write_atomic(archive, buffer.getvalue())


def extract_zip(archive: Path, folder: Path) -> None:
    """Unpack ``archive`` as the new folder ``folder``; nothing is there unless all of it is right.

    Raises:
        BundleError: the zip is missing, damaged, hostile, or does not match its ``bundle.json``.
    """
    if folder.exists():
        raise BundleError(f"{folder}: already exists")
    try:
        with zipfile.ZipFile(archive) as source:
            _extract_checked(source, folder)
    except BundleError as error:
        raise BundleError(f"{archive}: {error}", hint=error.hint) from error
    except FileNotFoundError as error:
        raise BundleError(f"{archive}: missing") from error
    except ZIP_ERRORS as error:
        raise BundleError(f"{archive}: not a bundle's zip, or truncated ({error!s:.100})") from error
    except OSError as error:
        raise BundleError(f"{archive}: cannot be unpacked ({error.strerror or error})") from error


def _extract_checked(source: zipfile.ZipFile, folder: Path) -> None:
    members = checked_members(source)
    if MANIFEST_NAME not in members:
        raise BundleError(f"{MANIFEST_NAME} is missing")
    content = read_member(source, members[MANIFEST_NAME], MOST_MANIFEST_BYTES)
    manifest = parse_manifest(content)
    _check_members(members, manifest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        for name, record in manifest.files.items():
            _write(source, members[name], temporary / name, record)
        write_atomic(temporary / MANIFEST_NAME, content)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def checked_members(source: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip by name, each a plain file that would stay in its folder.

    Raises:
        BundleError: one is not, or there are too many.
    """
    infos = source.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise BundleError(f"holds {len(infos)} files, more than a bundle may ({_MOST_MEMBERS})")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        if name in members:
            raise BundleError(f"{name!r:.80} stands twice in the zip")
        if "/" in name or "\\" in name or name in {"", ".", ".."}:
            raise BundleError(f"{name!r:.80} is a foreign file: it would leave the bundle's folder")
        if info.flag_bits & 0x1:
            raise BundleError(f"{name!r:.80} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{name!r:.80} is neither stored nor deflated")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BundleError(f"{name!r:.80} is a foreign file: a link or a special file")
        members[name] = info
    return members


def _check_members(members: dict[str, zipfile.ZipInfo], manifest: Manifest) -> None:
    total = sum(record.size for record in manifest.files.values())
    if total > MOST_BUNDLE_BYTES:
        raise BundleError(
            f"{MANIFEST_NAME}: declares {total} bytes, more than a bundle may ({MOST_BUNDLE_BYTES})"
        )
    for name in members:
        if name != MANIFEST_NAME and name not in manifest.files:
            raise BundleError(f"{name!r:.80} is a foreign file: {MANIFEST_NAME} does not list it")
    for name, record in manifest.files.items():
        if name not in members:
            raise BundleError(f"{name} is missing")
        if members[name].file_size != record.size:
            raise BundleError(
                f"{name} is altered: {members[name].file_size} bytes where {record.size} are declared"
            )


def read_member(source: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The content of a member, unpacked no further than one byte beyond ``most``.

    Raises:
        BundleError: there is more of it.
    """
    with source.open(member) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BundleError(f"{member.filename} is larger than {most} bytes")
    return content


def _write(source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, record: FileRecord) -> None:
    """Copy one member, at most its declared size, and compare its sha256."""
    digest = hashlib.sha256()
    left = record.size
    with source.open(member) as file, target.open("xb") as output:
        while block := file.read(min(_BLOCK_BYTES, left + 1)):
            left -= len(block)
            if left < 0:
                raise BundleError(f"{member.filename} is altered: more than the {record.size} declared bytes")
            digest.update(block)
            output.write(block)
        output.flush()
        os.fsync(output.fileno())
    if left:
        raise BundleError(f"{member.filename} is truncated: {record.size - left} of {record.size} bytes")
    if digest.hexdigest() != record.sha256:
        raise BundleError(f"{member.filename} is altered: its sha256 is not the declared one")
