"""``provision-device``, ``push-model`` and ``fleet-status`` against devices with real systemd and sshd.

The tests are steps of one story, in the order in which they stand; about a minute on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy_fleet.releases import MODEL, SENTENCE, Release
from tests.deploy_fleet.signed import sign
from tests.deploy_fleet.site import PORT, Site, site_or_skip
from tests.testbeds.installed_package import REPOSITORY
from tests.testbeds.systemd_container import calmly

pytestmark = pytest.mark.slow

DEPLOY = REPOSITORY / "deploy"
LOST_SECONDS = 120.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_or_skip(tmp_path_factory.mktemp("site") / "site", count=2) as site:
        yield site


def script(site: Site, name: str, *words: str, by: str = "") -> subprocess.CompletedProcess[str]:
    """Runs one of the scripts; ``by`` goes before ssh, to cut it."""
    environment = {**os.environ, "EDGE_AGENT_SSH": f"{by} ssh -F {site.ssh_config}".strip()}
    return subprocess.run(
        [str(DEPLOY / name), *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
    )


def provision(
    site: Site, release: Path, *words: str, name: str = "pi-1", by: str = ""
) -> subprocess.CompletedProcess[str]:
    password = site.ssh_config.parent / f"{name}.password"
    password.write_text(site.passwords[name])
    broker = f"{site.network.address}:{PORT}"
    options = ("--release", str(release), "--broker", broker, "--password-file", str(password))
    return script(site, "provision-device", "pi-1", "--id", name, *options, *words, by=by)


def state(site: Site) -> str:
    """Everything that the scripts put anywhere, with its time."""
    folders = (
        "/opt /etc/edge-agent /etc/credstore /usr/local /usr/share/edge-agent /var/tmp /var/lib/edge-agent"
    )
    return site.ssh(
        "pi-1", f"find {folders} -not -path '*/systemd-private*' -printf '%p %m %T@\\n'", False
    ).stdout


def version(site: Site) -> str:
    return str(site.ask("pi-1", MODEL, SENTENCE)["version"])


def test_a_connection_that_is_lost_while_files_are_sent_changes_nothing(
    site: Site, release: Release, tmp_path: Path
) -> None:
    cutter = tmp_path / "cutter"
    cutter.write_text('#!/bin/sh\nhead -c 3000000 | "$@"\n')
    cutter.chmod(0o755)
    before = state(site)
    done = provision(site, release.folder, by=str(cutter))
    assert done.returncode == 1
    assert "the files did not all arrive; nothing was changed" in done.stderr
    lines = [line for line in state(site).splitlines() if not line.startswith("/var/tmp ")]
    assert lines == [line for line in before.splitlines() if not line.startswith("/var/tmp ")]


def test_it_is_provisioned_in_one_call_and_the_second_changes_nothing(site: Site, release: Release) -> None:
    done = provision(site, release.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{MODEL} 1.0.0 answers rightly\npi-1 is provisioned as pi-1.\n")
    assert version(site) == "1.0.0"
    assert site.ssh("pi-1", "stat -c %a /etc/credstore /etc/credstore/mqtt.password").stdout == "700\n600\n"
    started = site.ssh("pi-1", "systemctl show -P ActiveEnterTimestamp edge-agent").stdout
    again = provision(site, release.folder)
    assert again.returncode == 0, again.stderr
    assert "nothing was changed" in again.stdout
    assert site.ssh("pi-1", "systemctl show -P ActiveEnterTimestamp edge-agent").stdout == started


def test_settings_of_the_owner_are_not_written_over_unless_asked(site: Site, release: Release) -> None:
    before = site.ssh("pi-1", "cat /etc/edge-agent/config.toml").stdout
    done = provision(site, release.folder, name="pi-2")
    assert done.returncode == 2
    assert "other settings in /etc/edge-agent/config.toml; remedy: --replace" in done.stderr
    assert site.ssh("pi-1", "cat /etc/edge-agent/config.toml").stdout == before


def test_a_release_that_cannot_be_installed_leaves_program_settings_and_secrets(
    site: Site, release: Release, tmp_path: Path
) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(release.folder, lacking)
    next(lacking.glob("wheels/pydantic-*.whl")).unlink()
    files = "cat /etc/edge-agent/config.toml /etc/credstore/mqtt.password"
    before = site.ssh("pi-1", files).stdout
    done = provision(site, lacking, "--replace", name="pi-2")
    assert done.returncode == 1
    assert "Nothing was changed." in done.stderr
    assert site.ssh("pi-1", files).stdout == before
    assert version(site) == "1.0.0"


def test_a_model_is_pushed_and_answers(site: Site, release: Release) -> None:
    done = script(site, "push-model", "pi-1", str(release.good))
    assert (done.returncode, done.stdout) == (0, f"{MODEL} 1.1.0 is installed and answers\n"), done.stderr
    assert version(site) == "1.1.0"
    again = script(site, "push-model", "pi-1", str(release.good))
    assert again.stdout == f"{MODEL} 1.1.0 was installed already, and answers\n"


def test_a_bad_model_is_refused_and_one_that_answers_otherwise_is_turned_back(
    site: Site, release: Release
) -> None:
    bad = script(site, "push-model", "pi-1", str(release.bad))
    assert bad.returncode == 3
    assert "failed_its_proof: golden sentence 3" in bad.stderr
    wrong = script(
        site, "push-model", "pi-1", str(release.other), "--text", SENTENCE, "--expect", "HassTurnOff"
    )
    assert wrong.returncode == 1
    assert f"{MODEL} is back at 1.1.0" in wrong.stderr
    assert version(site) == "1.1.0"


def test_from_a_repository_only_what_its_root_vouches_for(
    site: Site, release: Release, tmp_path: Path
) -> None:
    signed = sign(tmp_path, release.other)
    words = ("push-model", "pi-1", f"{MODEL}@1.2.0", "--repository", str(signed.repository))
    assert script(site, *words).returncode != 0
    assert provision(site, release.folder, "--root", str(signed.root)).returncode == 0
    done = script(site, *words)
    assert (done.returncode, done.stdout) == (0, f"{MODEL} 1.2.0 is installed and answers\n"), done.stderr


def test_what_was_begun_is_finished_though_the_connection_is_lost(site: Site, release: Release) -> None:
    site.ssh("pi-1", f"edge-agent model rollback {MODEL}")
    done = script(site, "push-model", "pi-1", str(release.other), by="timeout -s KILL 1")
    assert done.returncode != 0
    folder = "ls -d /var/tmp/edge-agent.* 2>/dev/null || true"
    calmly(lambda: site.ssh("pi-1", folder).stdout == "", LOST_SECONDS, "the end of the work on the device")
    assert version(site) in ("1.1.0", "1.2.0")


def test_the_status_tells_of_all_those_that_cannot_be_reached_too(site: Site) -> None:
    table = script(site, "fleet-status", "pi-1", "pi-2", "nobody")
    assert table.returncode == 1
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["host", "device", "service", "agent", "models", "problems"]
    assert lines[1].split()[:3] == ["pi-1", "pi-1", "active"]
    assert "not installed" in lines[2]
    assert lines[3].startswith("nobody")
    assert "unreachable" in lines[3]
    (one,) = json.loads(script(site, "fleet-status", "--json", "--check", "pi-1").stdout)
    assert (one["well"], one["problems"]) == (True, [])
    assert one["models"][0]["name"] == MODEL
