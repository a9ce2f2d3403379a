"""The package as an installation leaves it on a device, laid out without a network: a layer for a container.

What is copied is this checkout and, of the environment that runs the tests, the closure of its dependencies.
So it has the very versions that the other tests have, and works wherever they do.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.testbeds.cache import NoTestbedError

REPOSITORY = Path(__file__).parents[2]
PREFIX = "opt/edge-agent"
"""Of the virtual environment, below the root."""

_PYTHON = (3, 11)  # of Debian 12
_DAEMON = """#!/{prefix}/bin/python3
import sys
from {module} import main
sys.exit(main())
"""


def lay_out_package(layer: Path) -> None:
    """Puts the virtual environment into a folder that will be a layer of a root.

    Raises:
        NoTestbedError: the libraries of this Python would not run under the container's.
    """
    if sys.version_info[:2] != _PYTHON:
        raise NoTestbedError(f"the container has Python 3.11, and this is {sys.version.split()[0]}")
    prefix = layer / PREFIX
    site = prefix / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin/python3").symlink_to("/usr/bin/python3")
    (prefix / "bin/python").symlink_to("python3")
    (prefix / "pyvenv.cfg").write_text(
        "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n"
    )
    for name, module in (("edge-agentd", "edge_agent.service.agent"), ("edge-agent", "edge_agent.cli.main")):
        program = prefix / "bin" / name
        program.write_text(_DAEMON.format(prefix=PREFIX, module=module))
        program.chmod(0o755)
    for found in _closure("edge-agent"):
        _copy(found, site)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "edge_agent", site / "edge_agent", ignore=skip, dirs_exist_ok=True)
    compileall.compile_dir(site / "edge_agent", quiet=2, stripdir=str(layer), prependdir="/")


def _closure(name: str) -> Iterator[Distribution]:
    """A distribution and all that it requires here, each once."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        found = distribution(todo.pop())
        if found.name in seen:
            continue
        seen.add(found.name)
        yield found
        required = (Requirement(line) for line in found.requires or ())
        todo += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]


def _copy(found: Distribution, site: Path) -> None:
    """Copies a distribution's files; programs outside site-packages, and editable links, are left out."""
    for file in found.files or ():
        if ".." in file.parts or file.suffix == ".pth" or file.is_absolute():
            continue
        source = Path(str(found.locate_file(file)))
        if source.is_file():
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)  # a layer is never written to, so it can share what it is made of
            except OSError:  # another file system
                shutil.copy2(source, target)
