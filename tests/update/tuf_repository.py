"""A small real TUF repository, made with python-tuf, that can also lie: every attack is a few lines on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

ROLES = ("root", "timestamp", "snapshot", "targets")
NOW = datetime(2026, 12, 1, tzinfo=timezone.utc)


@dataclass
class TufRepository:
    """One that is signed with ``root_threshold`` keys for root and targets, and one for the others."""

    folder: Path
    root_threshold: int = 2
    now: datetime = NOW
    signers: dict[str, list[CryptoSigner]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expires = self.now + timedelta(days=30)
        self.root = Root(expires=expires, consistent_snapshot=True)
        self.timestamp = Timestamp(expires=expires)
        self.snapshot = Snapshot(expires=expires)
        self.targets = Targets(expires=expires)
        for role in ROLES:
            count = self.root_threshold if role in ("root", "targets") else 1
            self.set_keys(role, [CryptoSigner.generate_ed25519() for _ in range(count)])
            self.root.roles[role].threshold = count
        for path in (self.metadata, self.folder / "targets"):
            path.mkdir(parents=True, exist_ok=True)
        self.write_root()
        self.publish()

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def pinned(self) -> bytes:
        return (self.metadata / "1.root.json").read_bytes()

    def set_keys(self, role: str, signers: list[CryptoSigner]) -> None:
        """New keys for a role; those of before are revoked."""
        for key in list(self.root.roles[role].keyids):
            self.root.revoke_key(key, role)
        for signer in signers:
            self.root.add_key(signer.public_key, role)
        self.signers[role] = signers

    def write_root(self, *, more: tuple[CryptoSigner, ...] = (), most: int | None = None) -> None:
        signers = [*self.signers["root"][:most], *more]
        self._write(f"{self.root.version}.root.json", self.root, signers)

    def add(self, name: str, version: str, content: bytes, digest: str, *, claims: str | None = None) -> Path:
        known = {"name": claims or name, "version": version, "digest": digest}
        return self.add_target(f"models/{name}-{version}.edgemodel", content, known)

    def add_channel(self, group: str, models: dict[str, str]) -> Path:
        content = json.dumps({"format": 1, "group": group, "models": models}).encode()
        return self.add_target(f"channels/{group}.json", content, None)

    def add_target(self, path: str, content: bytes, custom: dict[str, Any] | None) -> Path:
        target = TargetFile.from_data(path, content)
        if custom is not None:
            target.unrecognized_fields["custom"] = custom
        self.targets.targets[path] = target
        folder, _, base = path.rpartition("/")
        file = self.folder / "targets" / folder / f"{next(iter(target.hashes.values()))}.{base}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def publish(self, *, most: int | None = None) -> None:
        """Raises all versions by one and writes them; ``most`` signatures on targets."""
        first = not (self.metadata / "timestamp.json").exists()
        for signed in (self.targets, self.snapshot, self.timestamp):
            signed.version += 0 if first else 1
        content = self.write_targets(most=most)
        self.snapshot.meta["targets.json"] = MetaFile.from_data(self.targets.version, content, ["sha256"])
        self.write_snapshot()
        self.write_timestamp()

    def write_targets(self, *, most: int | None = None) -> bytes:
        signers = self.signers["targets"][:most]
        return self._write(f"{self.targets.version}.targets.json", self.targets, signers)

    def write_snapshot(self) -> None:
        name = f"{self.snapshot.version}.snapshot.json"
        content = self._write(name, self.snapshot, self.signers["snapshot"])
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, content, ["sha256"])

    def write_timestamp(self) -> None:
        self._write("timestamp.json", self.timestamp, self.signers["timestamp"])

    def _write(self, name: str, signed: Any, signers: list[CryptoSigner]) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        content = metadata.to_bytes()
        (self.metadata / name).write_bytes(content)
        return content
