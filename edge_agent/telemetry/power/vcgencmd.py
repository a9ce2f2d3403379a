"""The firmware asked by the program ``vcgencmd``: for ``check`` only, as a second way beside the mailbox.

The daemon never starts a program for a figure. The program may be missing, hang, or fail; each is a
SensorError.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from edge_agent.telemetry.reading import SensorError

TIMEOUT_SECONDS = 2.0

Run = Callable[[Sequence[str], float], tuple[int, str]]
"""Runs a command with a time-out in seconds; gives exit status and output; may raise TimeoutExpired."""


def run(command: Sequence[str], timeout_seconds: float) -> tuple[int, str]:
    """Exit status and output of a program, which is killed when its time is over.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took too long.
    """
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=timeout_seconds,
        check=False,
    )
    return done.returncode, done.stdout.decode("ascii", "replace")


class Vcgencmd:
    """The firmware behind ``vcgencmd``.

    Args:
        program: its name or path.
        timeout_seconds: after which it is killed.
        run: starts it.
    """

    def __init__(
        self, program: str = "vcgencmd", timeout_seconds: float = TIMEOUT_SECONDS, run: Run = run
    ) -> None:
        self._program = program
        self._timeout_seconds = timeout_seconds
        self._run = run

    def ask(self, command: str) -> str:
        """The answer to a command.

        A command that the firmware does not know has an answer too, and so does one that failed (exit status
        255): ``error=1 error_msg="Command not registered"``.

        Raises:
            SensorError: the program is missing, hangs, or fails without an answer.
        """
        try:
            status, output = self._run([self._program, *command.split()], self._timeout_seconds)
        except FileNotFoundError:
            raise SensorError("vcgencmd: the program is not installed") from None
        except subprocess.TimeoutExpired:
            raise SensorError(f"vcgencmd: no answer in {self._timeout_seconds:g} seconds") from None
        except OSError:
            raise SensorError("vcgencmd: it cannot be started") from None
        lines = [line for line in output.splitlines() if line.strip()]
        answer = "\n".join(line for line in lines if not line.startswith("vc_gencmd_read_response"))
        if status != 0 and "error=" not in answer:
            raise SensorError(f"vcgencmd: it failed with exit status {status}")
        return answer
