"""The hub of a spoke, decided from what was seen: data in, data out."""

from dataclasses import replace
from ipaddress import ip_address

from wgmesh.agent.hubs import FORGIVEN_SECONDS, SETTLING_SECONDS, decided, in_doubt, looked
from wgmesh.history import Exit, Hubs
from wgmesh.select import SILENT_SECONDS, Life, Standing

ALPHA, BRAVO, OTHER = "10.40.0.1", "10.40.0.2", "10.40.0.5"
START = 1000.0
FRESH = Hubs(
    hubs=(Exit("alpha", "A", ALPHA, ()), Exit("bravo", "B", BRAVO, ())),
    targets=(OTHER,),
    through=Life(alive=START),
    standing=Standing("alpha", START),
    holder="A",
)


class Spoke:
    """A spoke that looks each second."""

    def __init__(self, memory: Hubs = FRESH) -> None:
        self.memory = memory
        self.now = START

    def spend(self, seconds: int, *answers: str, through: str = "") -> str:
        """Look for so long; `through` are the hubs that forward. Returns the hub in force."""
        for _ in range(seconds):
            self.now += 1
            heard = {ip_address(each): 10.0 for each in answers}
            if self.memory.standing.chosen in through.split():
                heard[ip_address(OTHER)] = 20.0
            self.memory = looked(self.memory, heard, self.now)
            self.memory = decided(self.memory, self.now)
        return self.memory.standing.chosen


def test_the_first_living_hub_is_in_force() -> None:
    assert Spoke().spend(100, ALPHA, BRAVO, through="alpha bravo") == "alpha"


def test_a_dead_hub_is_left_after_fifteen_seconds() -> None:
    spoke = Spoke()
    spoke.spend(5, ALPHA, BRAVO, through="alpha bravo")
    assert spoke.spend(int(SILENT_SECONDS) - 1, BRAVO, through="bravo") == "alpha"
    assert in_doubt(spoke.memory, spoke.now)
    assert spoke.spend(1, BRAVO, through="bravo") == "bravo"
    assert spoke.memory.holder == "B"


def test_a_hub_that_answers_but_does_not_forward_is_left_too() -> None:
    spoke = Spoke()
    spoke.spend(5, ALPHA, BRAVO, through="alpha bravo")
    assert spoke.spend(int(SILENT_SECONDS) + 1, ALPHA, BRAVO, through="bravo") == "bravo"
    assert spoke.spend(500, ALPHA, BRAVO, through="bravo") == "bravo"
    assert set(spoke.memory.muted) == {"alpha"}


def test_a_hub_just_chosen_has_longer_to_show_that_it_forwards() -> None:
    """It may believe yet that the others use it, as they did before."""
    spoke = Spoke()
    spoke.spend(5, ALPHA, BRAVO, through="alpha")
    assert spoke.spend(int(SILENT_SECONDS), BRAVO) == "bravo"
    late = int(SETTLING_SECONDS + SILENT_SECONDS) - 1
    assert spoke.spend(late, ALPHA, BRAVO) == "bravo"
    assert "bravo" not in spoke.memory.muted
    assert spoke.spend(100, ALPHA, BRAVO, through="bravo") == "bravo"


def test_it_is_returned_to_when_it_is_forgiven_and_proves_itself() -> None:
    spoke = Spoke()
    spoke.spend(30, ALPHA, BRAVO, through="bravo")
    after = int(FORGIVEN_SECONDS) + 320
    assert spoke.spend(after, ALPHA, BRAVO, through="alpha bravo") == "alpha"


def test_where_none_forwards_all_meet_at_the_first_that_answers() -> None:
    spoke = Spoke()
    spoke.spend(60, ALPHA, BRAVO)
    assert spoke.spend(1, ALPHA, BRAVO) == "alpha"
    assert spoke.spend(300, ALPHA, BRAVO) == "alpha"
    assert spoke.spend(20, BRAVO) == "bravo"


def test_no_hub_is_none_and_the_last_keeps_what_it_carries() -> None:
    spoke = Spoke()
    spoke.spend(5, ALPHA, through="alpha")
    assert spoke.spend(20) == ""
    assert spoke.memory.holder == "A"
    assert spoke.spend(1, ALPHA, through="alpha") == "alpha"


def test_without_other_spokes_a_hub_lives_when_it_answers() -> None:
    assert Spoke(replace(FRESH, targets=())).spend(100, ALPHA, BRAVO) == "alpha"
