"""Programs of 64- and 32-bit ARM for real, by qemu's user mode, in a Debian root of their architecture.

The root is made once by mmdebstrap's ``extract`` (10 s) and pip (10 s), 200 MB for arm64 and 90 MB for armhf.
It is never changed afterwards but for folders of a single run, and lies beside the other test beds' roots, in
the folder that ``TESTBED_CACHE`` names. Mirror and package index are those of apt and pip here.

qemu is called by its name inside the root, so neither ``binfmt_misc`` nor any mount is needed, but root and
chroot are. The root has no ``/sys``: LiteRT 2.2 and 2.3 would read the cache topology of the host's x86 there
and crash. The processor is always named: qemu's default has extensions that no board has, and LiteRT 2.1
answered wrongly on it. What is emulated is the instruction set; speed, caches, the kernel and its drivers are
not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbeds.cache import RELEASE, NoTestbedError, alone, cache, mirror

CHECKOUT = Path(__file__).parents[2]
_SITE = "/opt/site"
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_GLIBC_TAGS = range(17, 37)  # bookworm has glibc 2.36


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of board, as a Debian root and what the daemon needs in it.

    Attributes:
        debian: its architecture's name there.
        wheels: its name in the tags of wheels.
        qemu: the program that runs it.
        packages: of Debian, beside Python.
        requirements: for pip, as pyproject.toml has them for this machine.
        dependencies: whether pip fetches theirs, too.
        environment: what its Python needs.
    """

    debian: str
    wheels: str
    qemu: str
    packages: tuple[str, ...]
    requirements: tuple[str, ...]
    dependencies: bool
    environment: tuple[tuple[str, str], ...] = ()


ARM64 = Machine(
    debian="arm64",
    wheels="aarch64",
    qemu="qemu-aarch64-static",
    packages=("python3", "libstdc++6"),
    requirements=("ai-edge-litert>=2.3,<3", "numpy>=1.24,<3", "structlog>=24.1"),
    dependencies=True,
)
# No wheel of NumPy 1 is made for armv7l, so that it is Debian's; its BLAS lies outside the loader's path.
_LIBRARIES = "/usr/lib/arm-linux-gnueabihf"
ARMHF = Machine(
    debian="armhf",
    wheels="armv7l",
    qemu="qemu-arm-static",
    packages=("python3", "python3-numpy", "libstdc++6", "libatomic1"),
    requirements=("tflite-runtime>=2.14,<2.15", "structlog>=24.1"),
    dependencies=False,
    environment=(("LD_LIBRARY_PATH", f"{_LIBRARIES}/blas:{_LIBRARIES}/lapack"),),
)


def why_not(machine: Machine) -> str | None:
    """Why programs of this machine cannot run here, in one line; None where they can."""
    if os.geteuid() != 0:
        return "emulated ARM needs root, for chroot"
    for program, package in ((machine.qemu, "qemu-user-static"), ("mmdebstrap", "mmdebstrap")):
        if shutil.which(program, path=_PATH) is None:
            return f"emulated ARM needs {program}: apt install {package}"
    return None


def arm_root(machine: Machine) -> Path:
    """The machine's root folder, made where it is missing.

    Raises:
        NoTestbedError: this machine cannot have it.
    """
    reason = why_not(machine)
    if reason is not None:
        raise NoTestbedError(reason)
    name = hashlib.sha256(repr(machine).encode()).hexdigest()[:12]
    root = cache() / f"{RELEASE}-{machine.debian}-{name}"
    with alone(cache() / f"{machine.debian}.lock"):
        if not root.is_dir():
            _make(machine, root)
    return root


def run_there(
    machine: Machine, cpu: str, program: Path, bundles: Sequence[Path], *, deadline_seconds: float
) -> str:
    """Runs a Python program of this checkout on the emulated machine, over copies of bundles.

    Args:
        machine: which.
        cpu: the processor, by qemu's name for it.
        program: a file; ``edge_agent`` is this checkout's. Its arguments are the bundles' folders.
        bundles: folders.
        deadline_seconds: for all of it.

    Returns:
        What it printed.

    Raises:
        NoTestbedError: as :func:`arm_root`.
        AssertionError: it ended with an error, which is shown.
    """
    root = arm_root(machine)
    with tempfile.TemporaryDirectory(dir=root / "opt", prefix="run-") as folder:
        here, there = Path(folder), Path("/") / Path(folder).relative_to(root)
        shutil.copytree(
            CHECKOUT / "edge_agent", here / "edge_agent", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(program, here / "program.py")
        for bundle in bundles:
            shutil.copytree(bundle, here / "bundles" / bundle.name)
        environment = {
            **dict(machine.environment),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{there}:{_SITE}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "QEMU_CPU": cpu,
        }
        command = [f"/{machine.qemu}", "/usr/bin/python3", str(there / "program.py")]
        done = subprocess.run(
            ["chroot", str(root), *command, *(str(there / "bundles" / bundle.name) for bundle in bundles)],
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline_seconds,
            env=environment,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _make(machine: Machine, root: Path) -> None:
    fresh = root.with_name(root.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    bootstrap = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={machine.debian}"]
    _try([*bootstrap, f"--include={','.join(machine.packages)}", RELEASE, str(fresh), mirror()])
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    wheels = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
    wheels += [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
    wheels += [f"--platform=manylinux_2_{minor}_{machine.wheels}" for minor in _GLIBC_TAGS]
    wheels += [f"--platform=manylinux2014_{machine.wheels}"]
    wheels += [] if machine.dependencies else ["--no-deps"]
    _try([*pip, *wheels, f"--target={fresh}{_SITE}", *machine.requirements])
    qemu = shutil.which(machine.qemu, path=_PATH)
    assert qemu is not None
    shutil.copy(qemu, fresh / machine.qemu)
    fresh.rename(root)


def _try(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": _PATH},
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoTestbedError(f"{Path(command[0]).name} cannot make a root for ARM here: {last}")
