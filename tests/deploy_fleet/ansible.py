"""``ansible-playbook`` with this project's playbooks against a site, and what it says of each device.

``ANSIBLE_PLAYBOOK`` names the program, where it is not on the path::

    python3 -m venv /opt/ansible && /opt/ansible/bin/pip install ansible-core
    ANSIBLE_PLAYBOOK=/opt/ansible/bin/ansible-playbook make test ARGS="tests/deploy_fleet"
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy_fleet.site import Site
from tests.deploy_fleet.sshd import USER
from tests.testbeds.installed_package import REPOSITORY

PLAYBOOKS = REPOSITORY / "deploy/ansible"
_RUN_SECONDS = 900.0


def program() -> str | None:
    """``ansible-playbook``, where there is one."""
    return shutil.which(os.environ.get("ANSIBLE_PLAYBOOK", "ansible-playbook"))


def need_ansible() -> None:
    """Skips the module that calls it where there is none."""
    if program() is None:
        reason = "no Ansible: ANSIBLE_PLAYBOOK does not name the program, and it is not on the path"
        pytest.skip(reason, allow_module_level=True)


@dataclass(frozen=True, slots=True)
class Played:
    """How a playbook ended.

    Attributes:
        code: exit code.
        recap: by device: ``ok``, ``changed``, ``failures`` …; a device that was never begun is not in it.
        said: all of its output.
        messages: by device, what the task said that failed it last.
    """

    code: int
    recap: dict[str, dict[str, int]]
    said: str
    messages: dict[str, str]


class Ansible:
    """Plays against all devices of a site.

    Args:
        site: of bare machines.
        folder: for the inventory.
        release: what is installed.
    """

    def __init__(self, site: Site, folder: Path, release: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._inventory = folder / "inventory.json"
        mqtt = {
            "host": site.network.address,
            "username": "{{ edge_agent_device_id }}",
            "reconnect_max_seconds": 1,
        }
        shared = {
            "ansible_user": USER,
            "ansible_ssh_common_args": f"-F {site.ssh_config}",
            "edge_agent_release": str(release),
            "edge_agent_settings": {"mqtt": mqtt, "health": {"interval_seconds": 1}},
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        hosts = {
            name: {"edge_agent_credentials": {"mqtt.password": password}}
            for name, password in site.passwords.items()
        }
        self._inventory.write_text(json.dumps({"edge_agents": {"hosts": hosts, "vars": shared}}))

    def play(self, playbook: str, *options: str, **variables: Any) -> Played:
        """Plays it, with these variables."""
        found = program()
        assert found is not None
        done = subprocess.run(
            [found, "-i", str(self._inventory), *options, "-e", json.dumps(variables), playbook],
            cwd=PLAYBOOKS,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_RUN_SECONDS,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
                "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_HOME": str(self._folder / "home"),
            },
        )
        said = done.stdout + done.stderr
        return Played(done.returncode, _recap(said), said, _messages(said))


def _recap(said: str) -> dict[str, dict[str, int]]:
    lines = said.rpartition("PLAY RECAP")[2].splitlines()[1:]
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        host, colon, rest = line.partition(" : ")
        if colon:
            pairs = (word.split("=") for word in rest.split())
            found[host.strip()] = {key: int(value) for key, value in pairs}
    return found


def _messages(said: str) -> dict[str, str]:
    found = {}
    for line in said.splitlines():
        if line.startswith("fatal: ["):
            host = line.partition("[")[2].partition("]")[0]
            found[host] = str(json.loads(line[line.index("{") :]).get("msg"))
    return found
