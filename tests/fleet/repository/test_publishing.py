from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import BundleError, SettingsError
from edge_agent.fleet.repository.creating import RolePlan
from edge_agent.fleet.repository.keys import KeyRing
from edge_agent.fleet.repository.model_repository import opened
from edge_agent.fleet.repository.publishing import publish, set_channel
from edge_agent.fleet.repository.rotating import delegate, refresh
from edge_agent.fleet.repository.verifying import verify
from edge_agent.inference.bundle import pack, unpack
from tests.fleet.repository.workplace import (
    PASSPHRASE,
    Device,
    PowerCut,
    Workplace,
    counting_writer,
    failing_writer,
)
from tests.tiny_bundle import build_tiny_bundle

TINY = "models/tiny-1.0.0.edgemodel"
NEWER = "models/tiny-1.1.0.edgemodel"
KITCHENS = "channels/kitchens.json"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def _served(place: Workplace, handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(place.repository))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def url(place: Workplace) -> Iterator[str]:
    with _served(place, _Quiet) as address:
        yield address


def test_a_device_gets_the_model_from_a_folder_with_what_the_metadata_say_of_it(
    place: Workplace, tiny_folder: Path, tmp_path: Path
) -> None:
    content = place.device().fetch(TINY)
    assert content == pack(tiny_folder, tmp_path / "own.edgemodel").read_bytes()
    target = place.device("other").updater().get_targetinfo(TINY)
    assert target is not None
    (tmp_path / "got").write_bytes(content)
    assert target.custom == {
        "name": "tiny",
        "version": "1.0.0",
        "digest": unpack(tmp_path / "got", tmp_path / "unpacked").digest,
        "task": "intent",
        "languages": ["en", "es"],
        "megabytes": 1,
    }


def test_a_device_gets_model_and_channel_from_a_plain_web_server(place: Workplace, url: str) -> None:
    device = Device(place.folder / "far", place.first_root, url)
    assert device.fetch(TINY) == place.device().fetch(TINY)
    channel = json.loads(device.fetch(KITCHENS) or b"")
    assert channel == {"format": 1, "group": "kitchens", "models": {"tiny": "1.0.0"}}
    report = verify(url, place.first_root)
    assert (report.models, report.channels, report.findings) == (1, 1, [])


def test_a_server_that_breaks_off_is_told(place: Workplace) -> None:
    class Short(_Quiet):
        def copyfile(self, source: Any, outputfile: Any) -> None:
            outputfile.write(source.read()[:20_000])

    with _served(place, Short) as broken:
        (finding,) = verify(broken, place.first_root).findings
    assert finding.subject == TINY
    assert finding.problem.startswith("the download broke off")


def test_the_same_bundle_again_changes_nothing(place: Workplace, tiny_folder: Path) -> None:
    before = place.files()
    with place.open() as repository:
        added = publish(repository, [tiny_folder])
    assert [item.new for item in added] == [False]
    assert place.files() == before


def test_another_content_under_the_same_version_is_refused(place: Workplace, tmp_path: Path) -> None:
    other = build_tiny_bundle(tmp_path / "other", seed=99)
    before = place.files()
    with place.open() as repository, pytest.raises(SettingsError, match="another content"):
        publish(repository, [other], allow_older=True)
    assert place.files() == before


def test_a_lower_version_needs_a_word(place: Workplace, newer: Path, tmp_path: Path) -> None:
    place.publish(newer)
    between = build_tiny_bundle(tmp_path / "between", version="1.1.0-rc.1")
    before = place.files()
    with place.open() as repository, pytest.raises(SettingsError, match=r"older than 1\.1\.0"):
        publish(repository, [between])
    assert place.files() == before
    with place.open() as repository:
        publish(repository, [between], allow_older=True)
    assert place.verify().models == 3


def test_a_bundle_that_is_not_right_is_refused_and_so_are_the_others_with_it(
    empty: Workplace, tiny_folder: Path, newer: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(newer, broken)
    (broken / "model.tflite").write_bytes(b"altered")
    before = empty.files()
    with empty.open() as repository, pytest.raises(BundleError, match=r"model\.tflite"):
        publish(repository, [tiny_folder, broken])
    assert empty.files() == before


def test_two_contents_of_one_version_in_one_call_are_refused(
    empty: Workplace, tiny_folder: Path, tmp_path: Path
) -> None:
    other = build_tiny_bundle(tmp_path / "other", seed=99)
    with empty.open() as repository, pytest.raises(SettingsError, match="another content"):
        publish(repository, [tiny_folder, other])


def test_a_version_with_build_metadata_is_refused(empty: Workplace, tmp_path: Path) -> None:
    bundle = build_tiny_bundle(tmp_path / "tiny", version="1.0.0+monday")
    with empty.open() as repository, pytest.raises(SettingsError, match=r"1\.0\.0\+monday"):
        publish(repository, [bundle])


def test_a_file_goes_out_as_it_is(empty: Workplace, tiny_folder: Path, tmp_path: Path) -> None:
    file = pack(tiny_folder, tmp_path / "tiny.edgemodel")
    empty.publish(file)
    assert empty.device().fetch(TINY) == file.read_bytes()


def test_a_channel_moves_to_what_is_published_and_only_there(place: Workplace, newer: Path) -> None:
    before = place.files()
    with place.open() as repository, pytest.raises(SettingsError, match=r"1\.1\.0 is not published"):
        set_channel(repository, "kitchens", {"tiny": "1.1.0"})
    assert place.files() == before
    place.publish(newer)
    with place.open() as repository:
        channel = set_channel(repository, "kitchens", {"tiny": "1.1.0"})
    assert channel.models == {"tiny": "1.1.0"}
    assert b"1.1.0" in (place.device().fetch(KITCHENS) or b"")


def test_a_channel_goes_back_only_with_a_word(place: Workplace, newer: Path) -> None:
    place.publish(newer, groups=("kitchens",))
    with place.open() as repository, pytest.raises(SettingsError, match="older"):
        set_channel(repository, "kitchens", {"tiny": "1.0.0"})
    with place.open() as repository:
        set_channel(repository, "kitchens", {"tiny": "1.0.0"}, allow_older=True)
    assert b"1.0.0" in (place.device().fetch(KITCHENS) or b"")


def test_a_channel_can_fall_silent_on_a_model(place: Workplace) -> None:
    with place.open() as repository:
        assert set_channel(repository, "kitchens", {}, remove=["tiny"]).models == {}
    assert place.verify().findings == []


def test_a_delegated_role_signs_its_own_paths_and_no_others(
    place: Workplace, acme: Path, newer: Path
) -> None:
    with place.open() as repository:
        delegate(repository, "acme", ["models/acme-*"], RolePlan(days=30))
    with place.open() as repository:
        publish(repository, [acme], signed_by="acme")
    assert place.device().fetch("models/acme-home-1.0.0.edgemodel") is not None
    assert place.verify().findings == []
    before = place.files()
    with place.open() as repository, pytest.raises(SettingsError, match="may not sign"):
        publish(repository, [newer], signed_by="acme")
    with place.open() as repository, pytest.raises(SettingsError, match="no delegated role other"):
        publish(repository, [newer], signed_by="other")
    assert place.files() == before


def test_the_keys_of_a_customer_may_lie_in_a_folder_of_their_own_with_their_own_passphrase(
    place: Workplace, acme: Path, tmp_path: Path
) -> None:
    own = tmp_path / "acme-keys"

    def secrets(purpose: str) -> str:
        return "another long phrase" if purpose.endswith(str(own)) else PASSPHRASE

    def both() -> KeyRing:
        return KeyRing([own, place.keys], secrets)

    with opened(place.repository, both()) as repository:
        delegate(repository, "acme", ["models/acme-*"], RolePlan())
    assert (own / "acme-1.pem").exists()
    assert not (place.keys / "acme-1.pem").exists()
    with place.open() as repository, pytest.raises(SettingsError, match="acme needs the signatures of 1"):
        publish(repository, [acme], signed_by="acme")
    with opened(place.repository, both()) as repository:
        publish(repository, [acme], signed_by="acme")
    assert place.verify().models == 2


@pytest.mark.parametrize("half", [False, True], ids=["before", "after"])
def test_a_crash_at_any_write_of_publish_leaves_a_repository_that_verifies_and_goes_on(
    place: Workplace, newer: Path, half: bool
) -> None:
    written: list[Path] = []
    spare = Workplace(place.folder / "spare")
    shutil.copytree(place.repository, spare.repository)
    shutil.copytree(place.keys, spare.keys)
    with spare.open(write=counting_writer(written)) as repository:
        publish(repository, [newer], groups=["kitchens"])
    assert [path.name.partition(".")[2] for path in written[-3:]] == ["targets.json", "snapshot.json", "json"]
    assert len(written) == 5
    for number in range(len(written)):
        copy = Workplace(place.folder / f"copy-{number}")
        shutil.copytree(place.repository, copy.repository)
        shutil.copytree(place.keys, copy.keys)
        device = copy.device()
        assert device.fetch(TINY) is not None
        with copy.open(write=failing_writer(number, half=half)) as repository:
            with pytest.raises(SettingsError, match="cannot be written") as caught:
                publish(repository, [newer], groups=["kitchens"])
            assert isinstance(caught.value.__cause__, PowerCut)
        report = copy.verify()
        done = number == len(written) - 1 and half
        assert (report.models, report.channels, report.findings) == (2 if done else 1, 1, [])
        assert (device.fetch(NEWER) is not None) == done
        copy.publish(newer, groups=("kitchens",))
        assert device.fetch(NEWER) is not None
        assert copy.verify().findings == []


def test_what_somebody_else_put_into_the_repository_is_not_signed(place: Workplace, newer: Path) -> None:
    stranger = Workplace(place.folder / "stranger")
    stranger.create()
    stranger.publish(newer)
    for name in ("timestamp.json", "2.snapshot.json", "2.targets.json"):
        shutil.copy(stranger.repository / "metadata" / name, place.repository / "metadata" / name)
    with place.open() as repository, pytest.raises(BundleError, match="not signed as it must be"):
        refresh(repository)


def test_a_repository_that_was_replaced_as_a_whole_is_not_signed(place: Workplace) -> None:
    stranger = Workplace(place.folder / "stranger")
    stranger.create()
    shutil.rmtree(place.repository)
    shutil.copytree(stranger.repository, place.repository)
    with place.open() as repository, pytest.raises(BundleError, match="first root is not the one"):
        refresh(repository)


def test_an_older_state_under_a_newer_name_is_not_signed(place: Workplace) -> None:
    shutil.copy(place.repository / "metadata/1.targets.json", place.repository / "metadata/2.targets.json")
    with place.open() as repository, pytest.raises(BundleError, match="holds version 1"):
        refresh(repository, ["targets"])


def test_two_at_a_time_are_refused(place: Workplace, newer: Path) -> None:
    with place.open(), pytest.raises(SettingsError, match="another edge-agent"):
        place.publish(newer)
