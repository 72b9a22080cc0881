"""A steady stream of echo requests from a machine, counted exactly."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.lab.machine import Machine

ECHO = Path(__file__).with_name("echo.py")


@dataclass(frozen=True, slots=True)
class PingCount:
    """What came of it; `lost_at` are the times (seconds since the epoch) when the lost ones left.

    `longest_gap_seconds` is the longest time without an answer, from the first request on.
    """

    sent: int
    received: int
    longest_gap_seconds: float
    lost_at: tuple[float, ...]

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return self.sent - self.received


class Pings:
    """Echo requests from `machine` to `address`, one each `interval_seconds`, until `stop`.

    `with Pings(alpha, "10.40.0.2") as pings: …` starts it, and stops it at the end at the latest.
    """

    def __init__(self, machine: Machine, address: str, interval_seconds: float = 0.005) -> None:
        self._machine = machine
        # as text: a machine with a file system of its own does not have the file
        self._argv = [machine.python, "-c", ECHO.read_text(), address, str(interval_seconds)]
        self._child: subprocess.Popen[str] | None = None
        self._last: PingCount | None = None

    def start(self) -> "Pings":
        """Start; returns once the first request is about to leave."""
        self._child = self._machine.popen(
            self._argv, stdin=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = self._line()
        assert said == "ready\n", f"pings do not start: {said}"
        return self

    def count(self) -> PingCount:
        """Return the counts so far; requests under way count as lost."""
        if self._last is not None:
            return self._last
        assert self._child is not None and self._child.stdin is not None, "not started"
        self._child.stdin.write("?\n")
        self._child.stdin.flush()
        return self._parse(self._line())

    def stop(self) -> PingCount:
        """Stop sending, wait for the last answers, and return the final counts."""
        if self._last is None:
            assert self._child is not None and self._child.stdin is not None, "not started"
            self._child.stdin.close()
            self._last = self._parse(self._line())
            self._child.wait(timeout=10)
            if self._child.stdout is not None:
                self._child.stdout.close()
        return self._last

    def __enter__(self) -> "Pings":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.stop()
        elif self._child is not None:
            self._child.kill()
            self._child.wait(timeout=10)

    def _line(self) -> str:
        assert self._child is not None and self._child.stdout is not None
        return self._child.stdout.readline()

    def _parse(self, line: str) -> PingCount:
        assert line.startswith("{"), f"pings broke off: {line}"
        said = json.loads(line)
        return PingCount(
            said["sent"], said["received"], said["longest_gap_seconds"], tuple(said["lost_at"])
        )
