"""Where the daemon may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.service.places import Places, find_places, is_writable_folder, make_places

NOWHERE = {"HOME": "/home/ana"}


def _never(_path: Path) -> bool:
    return False


def test_the_settings_go_first_and_each_device_has_its_own_folder() -> None:
    places = find_places(
        {"STATE_DIRECTORY": "/a", "RUNTIME_DIRECTORY": "/b"},
        "pi",
        state_directory=Path("/s"),
        runtime_directory=Path("/r"),
    )
    assert places == Places(Path("/s/pi"), Path("/r/pi"))


def test_then_the_first_folder_of_systemd() -> None:
    environment = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a", **NOWHERE}
    assert find_places(environment, "pi") == Places(Path("/var/lib/a/pi"), Path("/run/a/pi"))


def test_then_the_folders_of_the_system_where_they_may_be_written() -> None:
    places = find_places(NOWHERE, "pi", is_writable=lambda _path: True)
    assert places == Places(Path("/var/lib/edge-agent/pi"), Path("/run/edge-agent/pi"))


def test_then_those_of_the_user() -> None:
    environment = {"XDG_STATE_HOME": "/x/state", "XDG_RUNTIME_DIR": "/run/user/5", **NOWHERE}
    places = find_places(environment, "pi", is_writable=_never)
    assert places == Places(Path("/x/state/edge-agent/pi"), Path("/run/user/5/edge-agent/pi"))


def test_at_last_the_home_folder_and_the_temporary_one() -> None:
    places = find_places({**NOWHERE, "XDG_STATE_HOME": "not/absolute"}, "pi", is_writable=_never)
    assert places.state == Path("/home/ana/.local/state/edge-agent/pi")
    assert places.runtime.parts[-2:] == (f"edge-agent-{os.getuid()}", "pi")


def test_folders_are_made_for_their_owner_alone_and_only_once(tmp_path: Path) -> None:
    places = Places(tmp_path / "a" / "b" / "pi", tmp_path / "run" / "pi")
    make_places(places)
    (places.state / "kept").touch()
    make_places(places)
    assert [path.stat().st_mode & 0o777 for path in (places.state, places.runtime)] == [0o700, 0o700]
    assert (places.state / "kept").exists()
    assert is_writable_folder(places.state)


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be created: Not a directory") as caught:
        make_places(Places(tmp_path / "file" / "state" / "pi", tmp_path / "run"))
    assert "device.state_directory" in str(caught.value.hint)
    assert (tmp_path / "run").is_dir(), "the other folder is made all the same"
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    for theirs in (tmp_path / "state", tmp_path / "own" / "pi"):
        theirs.mkdir(parents=True)
        os.chown(theirs, 12345, 12345)
        folder = theirs if theirs.name == "pi" else theirs / "pi"
        with pytest.raises(SettingsError, match="belongs to another user"):
            make_places(Places(folder, tmp_path / "run"))
