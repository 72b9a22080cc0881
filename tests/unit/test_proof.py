"""What is counted before a node gets another key: a handshake is told in whole seconds."""

import time

import pytest

from wgmesh import linux, proof
from wgmesh.model.kernel import PeerCounters


class Clock:
    """A clock, and a device whose peers shake hands at these times."""

    def __init__(self, *handshakes: float) -> None:
        self.now, self.handshakes = 1000.25, handshakes

    def counters(self, _: str) -> dict[str, PeerCounters]:
        past = [int(each) for each in self.handshakes if each <= self.now]
        return {"peer": PeerCounters(max(past, default=0), 0, 0)}

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.now += seconds


@pytest.mark.parametrize(
    ("handshakes", "counted", "until"),
    [
        ((), 0, 1000.25),
        ((990.0,), 990, 1000.25),
        ((999.9,), 999, 1000.25),
        ((1000.1,), 1000, 1001.0),
        ((1000.1, 1000.9), 1000, 1001.0),
        ((1000.1, 1001.0), 1001, 1002.0),
        ((1000.1, 1001.5), 1000, 1001.0),
        (tuple(float(second) for second in range(1000, 1020)), 1005, 1005.0),
        ((3000.0,), 0, 1000.25),
    ],
)
def test_another_key_waits_until_the_second_of_a_handshake_is_over(
    monkeypatch: pytest.MonkeyPatch, handshakes: tuple[float, ...], counted: int, until: float
) -> None:
    clock = Clock(*handshakes)
    monkeypatch.setattr(linux, "counters", clock.counters)
    monkeypatch.setattr(time, "time", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    found = proof.counters_before_another_key("wg0")
    assert (found["peer"].latest_handshake, clock.now) == (counted, until)
