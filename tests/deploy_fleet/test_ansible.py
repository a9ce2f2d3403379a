"""Three devices with a real systemd, by Ansible over SSH: there, upgraded in stages, back, and gone.

The tests are steps of one story, in the order in which they stand; some minutes on two cores. How long each
playbook took is told. Needs ``ansible-playbook`` (:mod:`tests.deploy_fleet.ansible`), root and namespaces.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy_fleet.ansible import Ansible, Played, need_ansible
from tests.deploy_fleet.releases import MODEL, SENTENCE, Release
from tests.deploy_fleet.signed import Signed, sign
from tests.deploy_fleet.site import Site, site_or_skip

need_ansible()
pytestmark = pytest.mark.slow

DEVICES = ("pi-1", "pi-2", "pi-3")
STORE = "/var/lib/edge-agent/models"


class Fleet:
    """The site and who plays against it; each play is timed."""

    def __init__(self, site: Site, ansible: Ansible) -> None:
        self.site = site
        self._ansible = ansible
        self.seconds: dict[str, float] = {}

    def play(self, what: str, playbook: str, *options: str, **variables: Any) -> Played:
        begun = time.monotonic()
        played = self._ansible.play(playbook, *options, **variables)
        self.seconds[what] = time.monotonic() - begun
        return played

    def serving(self) -> list[str]:
        """The version that each device answers with, by a real request."""
        return [self.site.ask(name, MODEL, SENTENCE)["version"] for name in DEVICES]

    def leftovers(self) -> str:
        """What work left behind in the folders for it."""
        return "".join(self.site.ssh(name, "ls -d /var/tmp/edge-agent* || true").stdout for name in DEVICES)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, release: Release) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with site_or_skip(folder / "site", count=len(DEVICES)) as site:
        fleet = Fleet(site, Ansible(site, folder / "ansible", release.folder))
        yield fleet


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, release: Release) -> Signed:
    return sign(tmp_path_factory.mktemp("signed"), release.good, release.other)


def changed(played: Played) -> list[int]:
    return [played.recap[name]["changed"] for name in DEVICES]


def test_a_check_of_bare_machines_changes_nothing(fleet: Fleet) -> None:
    played = fleet.play("install, --check", "install.yml", "--check", edge_agent_waves=["100%"])
    assert played.code == 0, played.said
    assert all(count > 0 for count in changed(played))
    assert (
        fleet.site.ssh("pi-1", "ls -d /opt/edge-agent /etc/edge-agent /etc/credstore", check=False).stdout
        == ""
    )
    assert fleet.leftovers() == ""


def test_it_installs_in_stages_and_each_device_answers(fleet: Fleet) -> None:
    played = fleet.play("install, in waves of 1, 5 %, 25 %, 100 %", "install.yml")
    assert played.code == 0, played.said
    assert played.said.count("PLAY [Install edge-agent]") >= 3
    assert fleet.serving() == ["1.0.0"] * 3
    assert fleet.site.ssh("pi-1", "stat -c '%a %U' /etc/credstore/mqtt.password").stdout == "600 root\n"
    assert "secret-of" not in played.said
    assert fleet.leftovers() == ""


def test_the_second_run_changes_nothing(fleet: Fleet) -> None:
    played = fleet.play("install again", "install.yml", edge_agent_waves=["100%"])
    assert played.code == 0, played.said
    assert changed(played) == [0, 0, 0]


def test_settings_that_it_would_not_start_with_are_not_written(fleet: Fleet) -> None:
    before = fleet.site.ssh("pi-1", "cat /etc/edge-agent/config.toml").stdout
    wrong = {"mqtt": {"prot": 1883}}
    played = fleet.play("wrong settings", "install.yml", edge_agent_settings=wrong)
    assert played.code == 2
    assert "prot" in played.said
    assert set(played.recap) == {"pi-1"}
    assert fleet.site.ssh("pi-1", "cat /etc/edge-agent/config.toml").stdout == before
    assert fleet.serving() == ["1.0.0"] * 3


def test_a_good_model_reaches_all_in_stages_and_the_second_run_changes_nothing(
    fleet: Fleet, release: Release
) -> None:
    played = fleet.play("a good model, in waves", "rollout.yml", edge_agent_bundle=str(release.good))
    assert played.code == 0, played.said
    assert fleet.serving() == ["1.1.0"] * 3
    assert fleet.site.ssh("pi-1", f"stat -c %U {STORE} {STORE}/.store").stdout == "edge-agent\n" * 2
    again = fleet.play(
        "the same again, at once",
        "rollout.yml",
        edge_agent_bundle=str(release.good),
        edge_agent_waves=["100%"],
    )
    assert again.code == 0, again.said
    assert changed(again) == [0, 0, 0]
    assert fleet.leftovers() == ""


def test_a_model_with_wrong_golden_answers_stops_at_the_first_device_and_is_never_served(
    fleet: Fleet, release: Release
) -> None:
    played = fleet.play("a bad model", "rollout.yml", edge_agent_bundle=str(release.bad))
    assert played.code == 2
    assert set(played.recap) == {"pi-1"}, "max_fail_percentage: nobody else was begun"
    assert "failed_its_proof: golden sentence 3" in played.messages["pi-1"]
    assert "This device serves 1.1.0" in played.messages["pi-1"]
    assert fleet.serving() == ["1.1.0"] * 3
    assert "9.9.9" not in fleet.site.ssh("pi-1", "journalctl -u edge-agent -o cat").stdout
    assert fleet.leftovers() == ""


def test_a_model_that_answers_otherwise_than_asked_for_is_rolled_back_at_the_first_device(
    fleet: Fleet, release: Release
) -> None:
    asked = {"edge_agent_verify_text": SENTENCE, "edge_agent_verify_expect": "HassTurnOff"}
    played = fleet.play(
        "a model that is wrong when asked", "rollout.yml", edge_agent_bundle=str(release.other), **asked
    )
    assert played.code == 2
    assert set(played.recap) == {"pi-1"}
    assert "version 1.2.0 answers HassTurnOn, not HassTurnOff" in played.messages["pi-1"]
    assert fleet.serving() == ["1.1.0"] * 3


def test_from_a_signed_folder_a_device_takes_what_its_root_vouches_for(fleet: Fleet, signed: Signed) -> None:
    wanted = {
        "edge_agent_model": MODEL,
        "edge_agent_model_version": "1.2.0",
        "edge_agent_repository_folder": str(signed.repository),
    }
    unknown = fleet.play("signed, no root", "rollout.yml", **wanted)
    assert unknown.code == 2
    assert set(unknown.recap) == {"pi-1"}
    rooted = fleet.play(
        "its root", "install.yml", edge_agent_root=str(signed.root), edge_agent_waves=["100%"]
    )
    assert rooted.code == 0, rooted.said
    quick = {"edge_agent_soak_seconds": 1, "edge_agent_waves": [1, "100%"]}
    played = fleet.play("signed, in waves of 1, 2, 1 s of soak", "rollout.yml", **quick, **wanted)
    assert played.code == 0, played.said
    assert fleet.serving() == ["1.2.0"] * 3


def test_a_rollback_returns_to_the_version_before_and_once_only(fleet: Fleet) -> None:
    bad = {"edge_agent_model": MODEL, "edge_agent_bad_version": "1.2.0"}
    played = fleet.play("rollback", "rollback.yml", **bad)
    assert played.code == 0, played.said
    assert fleet.serving() == ["1.1.0"] * 3
    again = fleet.play("rollback again", "rollback.yml", **bad)
    assert again.code == 0, again.said
    assert changed(again) == [0, 0, 0]
    further = fleet.play(
        "rollback to what was shipped", "rollback.yml", edge_agent_model=MODEL, edge_agent_bad_version="1.1.0"
    )
    assert further.code == 0, further.said
    assert fleet.serving() == ["1.0.0"] * 3


def test_uninstall_leaves_nothing_that_it_brought(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    played = fleet.play("uninstall", "uninstall.yml", edge_agent_purge=True)
    assert played.code == 0, played.said
    left = "ls -d /opt/edge-agent /etc/edge-agent /var/lib/edge-agent /etc/credstore/mqtt.password"
    assert fleet.site.ssh("pi-1", left, check=False).stdout == ""
    again = fleet.play("uninstall again", "uninstall.yml", edge_agent_purge=True)
    assert changed(again) == [0, 0, 0]
    with capsys.disabled():
        lines = [f"  {what}: {seconds:.0f} s" for what, seconds in fleet.seconds.items()]
        sys.stdout.write("\n".join([f"\nAnsible over {len(DEVICES)} devices:", *lines, ""]))
