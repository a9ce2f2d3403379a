"""The attacks of the TUF specification, each by its name, against a device that has version 1."""

from __future__ import annotations

import copy
import inspect
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from edge_agent.errors import SettingsError
from edge_agent.update.install import install
from edge_agent.update.refusal import Reason, UpdateError
from edge_agent.update.store import Content
from edge_agent.update.trust import Repository
from tests.update.toy import open_store, proves, served, tree, wanted, write_toy
from tests.update.tuf_repository import NOW, TufRepository

DIGEST = "sha256:" + "a" * 64
BUNDLE = b"the bundle " * 1000


class Device:
    """A device with a serving model that has once seen the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = TufRepository(folder / "repository")
        self.repository.add("home", "1.0.0", BUNDLE, DIGEST)
        self.repository.publish()
        self.pinned = self.repository.pinned
        install(open_store(folder / "models"), wanted(write_toy(folder / "toy", "1.0.0")), proves)
        self.client().refresh()

    def client(self, days: float = 0) -> Repository:
        source = str(self.repository.folder)
        return Repository(source, self.pinned, self.folder / "tuf", NOW + timedelta(days=days))

    def fetch(self, version: str = "1.0.0", days: float = 0) -> bytes:
        client = self.client(days)
        client.refresh()
        return client.download(client.find("home", version)).read_bytes()

    def trusted(self) -> dict[str, bytes | str]:
        return tree(self.folder / "tuf" / "metadata")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def refused(device: Device, act: Callable[[], object], *, advances: bool = False) -> Reason:
    """Why an act is refused; what serves is as before, and so is what is trusted, unless it may advance."""
    models, trusted = tree(device.folder / "models"), device.trusted()
    with pytest.raises(UpdateError) as caught:
        act()
    assert caught.value.exit_code == 3
    assert tree(device.folder / "models") == models
    assert served(device.folder / "models") == "1.0.0"
    if not advances:
        assert device.trusted() == trusted
    return caught.value.reason


def test_what_is_signed_is_fetched(device: Device) -> None:
    assert device.fetch() == BUNDLE


def test_arbitrary_software_is_refused(device: Device) -> None:
    file = next((device.repository.folder / "targets").rglob("*.edgemodel"))
    file.write_bytes(b"evil bytes " * 1000)
    assert refused(device, device.fetch) is Reason.ALTERED


def test_arbitrary_software_signed_by_a_stranger_is_refused(device: Device) -> None:
    device.repository.signers["timestamp"] = [CryptoSigner.generate_ed25519()]
    device.repository.publish()
    assert refused(device, device.fetch) is Reason.SIGNATURE


def test_endless_data_in_place_of_a_bundle_is_refused(device: Device) -> None:
    file = next((device.repository.folder / "targets").rglob("*.edgemodel"))
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(UpdateError) as caught:  # a device is no plain file
        device.fetch()
    assert caught.value.reason is Reason.UNREACHABLE
    file.unlink()
    file.write_bytes(BUNDLE + b"and more")
    assert refused(device, device.fetch) is Reason.TOO_LARGE


def test_endless_data_in_place_of_metadata_is_refused(device: Device) -> None:
    (device.repository.metadata / "timestamp.json").write_bytes(b" " * 20_000)
    assert refused(device, device.fetch) is Reason.TOO_LARGE


def test_an_indefinite_freeze_ends_when_metadata_expire(device: Device) -> None:
    assert refused(device, lambda: device.fetch(days=31)) is Reason.EXPIRED


def test_an_expired_root_is_refused(device: Device) -> None:
    device.repository.root.expires = NOW + timedelta(days=1)
    device.repository.root.version += 1
    device.repository.write_root()
    assert refused(device, lambda: device.fetch(days=2), advances=True) is Reason.EXPIRED


def test_a_rollback_of_the_timestamp_is_refused(device: Device) -> None:
    old = (device.repository.metadata / "timestamp.json").read_bytes()
    device.repository.publish()
    device.client().refresh()
    (device.repository.metadata / "timestamp.json").write_bytes(old)
    assert refused(device, device.fetch) is Reason.ROLLBACK


def test_a_rollback_of_the_snapshot_by_a_stolen_timestamp_key_is_refused(device: Device) -> None:
    old = copy.deepcopy(device.repository.timestamp.snapshot_meta)
    device.repository.publish()
    device.client().refresh()
    device.repository.timestamp.version += 1
    device.repository.timestamp.snapshot_meta = old
    device.repository.write_timestamp()
    assert refused(device, device.fetch) is Reason.ROLLBACK


def test_a_rollback_of_targets_by_stolen_online_keys_is_refused(device: Device) -> None:
    old = copy.deepcopy(device.repository.snapshot.meta["targets.json"])
    device.repository.publish()
    device.client().refresh()
    device.repository.snapshot.version += 1
    device.repository.snapshot.meta["targets.json"] = old
    device.repository.write_snapshot()
    device.repository.timestamp.version += 1
    device.repository.write_timestamp()
    assert refused(device, device.fetch, advances=True) is Reason.ROLLBACK


def test_a_fast_forward_is_recovered_from_by_new_keys_in_the_root(device: Device) -> None:
    repository = device.repository
    repository.timestamp.version = repository.snapshot.version = 2_000_000_000
    repository.publish()
    device.client().refresh()
    repository.timestamp.version = repository.snapshot.version = 3
    repository.publish()
    assert refused(device, device.fetch) is Reason.ROLLBACK
    for role in ("timestamp", "snapshot"):
        repository.set_keys(role, [CryptoSigner.generate_ed25519()])
    repository.root.version += 1
    repository.write_root()
    repository.publish()
    assert device.fetch() == BUNDLE


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match_of_metadata_of_different_times_is_refused(device: Device, role: str) -> None:
    metadata, repository = device.repository.metadata, device.repository
    old = metadata / f"{getattr(repository, role).version}.{role}.json"
    repository.add("home", "1.1.0", b"new", DIGEST)
    repository.publish()
    shutil.copyfile(old, metadata / f"{getattr(repository, role).version}.{role}.json")
    assert refused(device, lambda: device.fetch("1.1.0"), advances=True) is Reason.MIX_AND_MATCH


def test_wrong_software_under_a_right_name_is_refused(device: Device) -> None:
    device.repository.add("home", "1.1.0", b"other", DIGEST, claims="sentiment")
    device.repository.publish()
    assert refused(device, lambda: device.fetch("1.1.0"), advances=True) is Reason.WRONG_SOFTWARE


def test_a_bundle_without_a_signed_digest_is_refused(device: Device) -> None:
    device.repository.add("home", "1.1.0", b"other", "none")
    device.repository.publish()
    assert refused(device, lambda: device.fetch("1.1.0"), advances=True) is Reason.BAD_METADATA


def test_a_key_compromise_below_the_threshold_is_of_no_use(device: Device) -> None:
    device.repository.add("home", "6.6.6", b"evil", DIGEST)
    device.repository.publish(most=1)
    assert refused(device, lambda: device.fetch("6.6.6"), advances=True) is Reason.THRESHOLD


def test_a_root_signed_below_the_threshold_is_refused(device: Device) -> None:
    device.repository.root.version += 1
    device.repository.write_root(most=1)
    assert refused(device, device.fetch) is Reason.THRESHOLD


def test_a_root_with_new_keys_but_without_the_old_ones_is_refused(device: Device) -> None:
    device.repository.set_keys("root", [CryptoSigner.generate_ed25519() for _ in range(2)])
    device.repository.root.version += 1
    device.repository.write_root()
    assert refused(device, device.fetch) is Reason.SIGNATURE


def test_a_root_is_rotated_by_old_and_new_keys_together(device: Device) -> None:
    old = tuple(device.repository.signers["root"])
    device.repository.set_keys("root", [CryptoSigner.generate_ed25519() for _ in range(2)])
    device.repository.root.version += 1
    device.repository.write_root(more=old)
    assert device.fetch() == BUNDLE
    assert device.fetch() == BUNDLE  # and the pinned first one still leads there


def test_a_malicious_mirror_that_lacks_a_file_gets_nothing_in(device: Device) -> None:
    shutil.rmtree(device.repository.folder / "targets")
    with pytest.raises(UpdateError) as caught:
        device.fetch()
    assert (caught.value.reason, caught.value.exit_code) == (Reason.UNREACHABLE, 1)


def test_an_unknown_target_is_refused(device: Device) -> None:
    assert refused(device, lambda: device.fetch("9.9.9")) is Reason.UNKNOWN_TARGET
    assert refused(device, lambda: device.client().find("../home", "1.0.0")) is Reason.UNKNOWN_TARGET


def test_a_channel_names_the_version_and_refuses_others(device: Device) -> None:
    device.repository.add("home", "1.1.0", b"new", DIGEST)
    device.repository.add_channel("default", {"home": "1.0.0"})
    device.repository.add_channel("canary", {"home": "1.1.0"})
    device.repository.publish()
    client = device.client()
    assert client.offered("home", None, None).content == Content("home", "1.0.0", DIGEST)
    assert client.offered("home", None, "canary").content.version == "1.1.0"
    assert client.offered("home", "1.1.0", None).content.version == "1.1.0"
    assert refused(device, lambda: client.offered("home", "1.0.0", "canary")) is Reason.NOT_FOR_CHANNEL
    assert refused(device, lambda: client.offered("other", None, "canary")) is Reason.NOT_FOR_CHANNEL


def test_a_root_that_is_none_is_refused(device: Device) -> None:
    with pytest.raises(UpdateError) as caught:
        Repository(str(device.repository.folder), b"{}", device.folder / "tuf2", NOW)
    assert caught.value.reason is Reason.BAD_METADATA


def test_garbage_in_trusted_metadata_is_fetched_again(device: Device) -> None:
    for path in (device.folder / "tuf" / "metadata").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"\0")
    assert device.fetch() == BUNDLE


def test_a_source_that_is_neither_folder_nor_address_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Repository(str(tmp_path / "absent"), b"{}", tmp_path, NOW)


def test_the_private_names_of_python_tuf_that_are_used_are_there() -> None:
    assert "reference_time" in inspect.getsource(TrustedMetadataSet.__init__)
    assert "_trusted_set" in inspect.getsource(Updater.__init__)
    assert list(inspect.signature(Updater._persist_file).parameters) == ["self", "filename", "data"]
