"""``install.sh`` without a machine to install on: what it accepts and what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.settings import load_settings
from tests.deploy.installing import BUILDER, REPOSITORY, SCRIPT

SETTINGS = REPOSITORY / "deploy/config.toml"
ASKED = "asked for: 64-bit Debian or Raspberry Pi OS 12 or 13, Ubuntu 22.04 or 24.04, JetPack 6 or later"


def shell(line: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell that knows the script's functions."""
    command = ["bash", "-c", f'. "{SCRIPT}"; python=python3; {line}', "bash", *arguments]
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def problem(*values: str) -> str:
    done = shell('platform_problem "$@"', *values)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *options], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        "debian 12 x86_64 64 2.36 252 3.11",
        "debian 13 aarch64 64 2.41 257 3.13",
        "ubuntu 22.04 aarch64 64 2.35 249 3.10",
        "ubuntu 24.04 x86_64 64 2.39 255 3.12",
        "raspbian 12 armv7l 32 2.36 252 3.11",
        "raspbian 12 aarch64 32 2.36 252 3.11",
        "raspbian 12 armv8l 32 2.36 252 3.11",
    ],
)
def test_the_platforms_of_the_design_are_accepted(values: str) -> None:
    assert problem(*values.split()) == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("debian 11 x86_64 64 2.31 247 3.9", "debian 11, 64-bit, x86_64 is not supported; " + ASKED),
        ("ubuntu 20.04 aarch64 64 2.31 245 3.8", "ubuntu 20.04, 64-bit, aarch64 is not supported; " + ASKED),
        ("fedora 41 x86_64 64 2.40 256 3.13", "fedora 41, 64-bit, x86_64 is not supported; " + ASKED),
        ("debian 12 riscv64 64 2.36 252 3.11", "debian 12, 64-bit, riscv64 is not supported; " + ASKED),
        ("debian 12 x86_64 32 2.36 252 3.11", "debian 12, 32-bit, x86_64 is not supported; " + ASKED),
        ("raspbian 13 armv7l 32 2.41 257 3.13", "raspbian 13, 32-bit, armv7l is not supported; " + ASKED),
        ("raspbian 12 armv6l 32 2.36 252 3.11", "raspbian 12, 32-bit, armv6l is not supported; " + ASKED),
        ("raspbian 12 armv7l 32 2.36 252 3.12", "Python 3.12; asked for on 32-bit: 3.11"),
        ("debian 12 x86_64 64 2.36 252 3.14", "Python 3.14; asked for: 3.10 to 3.13"),
        ("debian 12 x86_64 64 2.36 252 3.9", "Python 3.9; asked for: 3.10 to 3.13"),
        ("debian 12 x86_64 64 2.33 252 3.11", "glibc 2.33 is too old; asked for: 2.34 or later"),
        ("debian 12 x86_64 64 2.36 99 3.11", "systemd 99 is too old; asked for: 249 or later"),
    ],
)
def test_others_are_refused_in_one_line_that_says_what_is_asked_for(values: str, words: str) -> None:
    said = problem(*values.split())
    assert said.startswith(words)
    assert said.count("\n") == 1


def test_what_does_not_tell_its_name_is_refused() -> None:
    assert problem("", "", "x86_64", "64", "", "", "").startswith("unknown system without version, 64-bit")
    assert problem("debian", "12", "x86_64", "64", "2.36", "252", "").startswith(
        "Python not found; asked for"
    )


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    """Programs that tell of a Raspberry Pi whose 32-bit system runs on a 64-bit kernel."""
    folder = tmp_path / "bin"
    folder.mkdir()
    says = {
        "uname": "aarch64",
        "getconf": '"$([ "$1" = LONG_BIT ] && echo 32 || echo glibc 2.36)"',
        "systemctl": "'systemd 252 (252.38-1~deb12u1)'",
        "python3": "3.11",
    }
    for name, words in says.items():
        (folder / name).write_text(f"#!/bin/sh\necho {words}\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_platform_is_read_from_the_machine(fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Raspbian"\nID=raspbian\nVERSION_ID="12"\n')
    done = shell('platform_of "$1"', str(tmp_path), path=fakes)
    assert done.stdout.splitlines() == ["raspbian", "12", "aarch64", "32", "2.36", "252", "3.11"]


def test_a_machine_without_a_release_file_gives_empty_values_and_no_shifted_ones(
    fakes: Path, tmp_path: Path
) -> None:
    done = shell('platform_of "$1"', str(tmp_path), path=fakes)
    assert done.stdout.splitlines() == ["", "", "aarch64", "32", "2.36", "252", "3.11"]


def test_room_is_measured_where_the_folder_will_be(tmp_path: Path) -> None:
    done = shell('free_megabytes "$1"', str(tmp_path / "not/yet"))
    assert abs(int(done.stdout) - shutil.disk_usage(tmp_path).free // 2**20) < 1024


def test_the_users_of_a_sysusers_file_are_found() -> None:
    text = '# u comment - x\nu edge-agent - "edge-agent daemon" /var/lib/edge-agent\nu! other -\ng group -\n'
    assert shell('users_of <(printf "%s" "$1")', text).stdout.split() == ["edge-agent", "other"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frobnicate"], "unknown option --frobnicate; remedy: install.sh --help"),
        (["--wheels"], "--wheels wants a folder"),
        (["--wheels", "/no/such"], "--wheels: there is no folder /no/such"),
        (["--purge"], "--purge goes with --uninstall"),
        (["--dry-run", "--prefix", "/opt/../etc"], "--prefix wants a plain absolute path"),
        (["--dry-run", "--prefix", "/opt/with space"], "--prefix wants a plain absolute path"),
        (["--dry-run", "--prefix", "relative"], "--prefix wants a plain absolute path"),
        (["--dry-run", "--prefix", "/no/such/parent"], "there is no folder /no/such for --prefix"),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_2(options: list[str], words: str) -> None:
    done = run(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"install.sh: {words}")
    assert done.stderr.count("\n") == 1


def test_without_systemd_it_says_so_and_changes_nothing() -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    done = run("--dry-run")
    assert done.returncode == 1
    assert done.stderr.startswith("install.sh: systemd does not run here (a container?); remedy: ")


def test_help_tells_every_option() -> None:
    done = run("--help")
    assert done.returncode == 0
    cases = re.findall(r"^ {12}(--[-a-z| ]+)\)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    known = {option for case in cases for option in case.split(" | ") if option.startswith("--")}
    assert len(known) == 8
    assert {option for option in known if option not in done.stdout} == {"--help"}


def test_the_scripts_are_clean() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    folder = BUILDER.parent
    scripts = [SCRIPT, BUILDER, folder / "wheels.sh"]
    scripts += [folder / name for name in ("preinst", "postinst", "prerm", "postrm")]
    done = subprocess.run(
        [program, "--external-sources", *map(str, scripts)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_example_settings_change_nothing_as_they_stand() -> None:
    assert load_settings(SETTINGS).mqtt == load_settings(Path(os.devnull)).mqtt


def test_every_example_setting_is_one_that_exists(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\S)", "", SETTINGS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert text.count("\n") > 20
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    settings = load_settings(tmp_path / "config.toml")
    assert settings.device.id == "pi-kitchen"
    assert settings.route[0].model == "sentiment"
