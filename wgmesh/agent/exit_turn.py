"""The looks of one tick of the exit selector: exits are measured, one is chosen, packets move."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh import glance, history, probe, select, settings
from wgmesh.agent import ticks
from wgmesh.agent.ticks import FIRST_LOOK_SECONDS, LOOK_SECONDS, MOST_SECONDS
from wgmesh.errors import LockedError, WgmeshError
from wgmesh.history import Exit, Steering
from wgmesh.select import Life, Standing, Way

if TYPE_CHECKING:
    from wgmesh.model.change import Change
    from wgmesh.model.kernel import KernelState
    from wgmesh.model.terms import Address

log = logging.getLogger(__name__)

OVERRIDE = Path("/etc/wireguard/exit.override")
VERIFY_SECONDS = 1.5
RETEST_SECONDS = 30.0
"""How seldom an exit whose uplink was dead is lent a target again."""

_DEAD = Life(lost=select.LOST_PROBES)


class Turn:
    """The looks of one tick."""

    def __init__(self, memory: Steering) -> None:
        self.memory = memory
        self.by_name = {each.name: each for each in memory.exits}
        self.holds = dict[str, tuple[int, ...]]()

    def run(self) -> None:
        """Look until it is clear if the exit in use works, choose, and mend what is missing."""
        end = glance.clock() + MOST_SECONDS
        seconds = FIRST_LOOK_SECONDS
        if self.memory.lent:
            self.lend({})
        with probe.Prober(self.memory.interface) as prober:
            while self.look(prober, seconds) and glance.clock() < end:
                ticks.prepare()
                self.decide(prober)
                seconds = LOOK_SECONDS
            self.retest(prober)
            self.decide(prober)
        self.mend()

    # ------------------------------------------------------------ looking

    def current(self) -> Exit | None:
        """Return the exit that has the default routes."""
        return next((x for x in self.memory.exits if x.public_key == self.memory.holder), None)

    def tested(self) -> dict[int, list[str]]:
        """Return the targets by IP version."""
        found: dict[int, list[str]] = {}
        for target in self.memory.targets:
            found.setdefault(6 if ":" in target else 4, []).append(target)
        return found

    def look(self, prober: probe.Prober, seconds: float) -> bool:
        """Probe exits, and targets through the one in use; return whether it is in doubt."""
        memory, current = self.memory, self.current()
        there = glance.peers(memory.interface)
        known = history.keys_of(memory.exits)
        self.holds = {known.get(k, k): peer.default for k, peer in there.items() if peer.default}
        doubt = current is None or not memory.standing.chosen or self.in_doubt(current)
        due = glance.clock() - memory.measured_at >= memory.interval
        probed = [each for each in memory.exits if due or doubt or each == current]
        through = self.holds.get(current.public_key, ()) if current is not None else ()
        targets = {f: every for f, every in self.tested().items() if f in through}
        sent = [ip_address(each.address) for each in probed]
        sent += [ip_address(each) for every in targets.values() for each in every]
        prober.send(sent)
        answers = prober.receive(seconds, sent)
        now = glance.clock()
        lives = dict(memory.lives)
        passed = {f: any(ip_address(each) in answers for each in targets[f]) for f in targets}
        for each in probed:
            rtt_ms = answers.get(ip_address(each.address))
            works = rtt_ms is not None or (each == current and any(passed.values()))
            lives[each.name] = select.heard(self.life(each.name), rtt_ms, now, works=works)
        for family, works in passed.items():
            if current is not None:
                key = f"{current.name}/{family}"
                lives[key] = select.heard(self.life(key), None, now, works=works)
        self.memory = replace(memory, lives=lives, measured_at=now if due else memory.measured_at)
        return current is not None and self.in_doubt(current)

    def life(self, key: str) -> Life:
        """Return what is known of a tunnel or an uplink."""
        return self.memory.lives.get(key, Life())

    def in_doubt(self, each: Exit) -> bool:
        """Return whether the next looks decide if this exit is down."""
        now = glance.clock()
        keys = [each.name, *(f"{each.name}/{family}" for family in self.tested())]
        return any(select.doubtful(self.life(key), now) for key in keys)

    def uplink_down(self, each: Exit, family: int) -> bool:
        """Return whether the exit was found to lead nowhere; one never tested was not."""
        life = self.life(f"{each.name}/{family}")
        return life.lost >= select.LOST_PROBES and not select.eligible(life, glance.clock())

    def usable(self, each: Exit) -> bool:
        """Return whether the tunnel works, and the uplink behind it as far as is known."""
        tested = self.tested()
        leads = not tested or not all(self.uplink_down(each, family) for family in tested)
        return leads and select.eligible(self.life(each.name), glance.clock())

    # ------------------------------------------------------------ choosing

    def decide(self, prober: probe.Prober) -> None:
        """Choose, and move the default routes there.

        What is left for something better is left once that has proved itself. From what is dead the
        move comes first: there is nothing to lose, and time is short.
        """
        override = self.override()
        for _ in range(2 * len(self.memory.exits) + 1):
            current = self.current()
            standing = select.way(
                [Way(x.name, self.usable(x), self.life(x.name).cost_ms) for x in self.order()],
                self.memory.standing,
                glance.clock(),
                by_order=self.memory.manual,
                override=override,
            )
            chosen = self.by_name.get(standing.chosen)
            moves = chosen is not None and chosen != current
            leaves_well = current is not None and self.usable(current)
            if chosen is not None and moves and leaves_well and not self.proves(prober, chosen):
                continue
            if not self.put(self.wanted(standing, chosen)):
                return
            if (
                chosen is None
                or not moves
                or leaves_well
                or self.proves(prober, chosen, lent=False)
            ):
                return

    def wanted(self, standing: Standing, chosen: Exit | None) -> Steering:
        """Return the memory as it shall be with `chosen` in use; None: no exit works.

        The last one then keeps the default routes: they come back to life with it.
        """
        if chosen is None:
            return replace(self.memory, standing=standing, direct=not self.memory.block)
        tested = self.tested()
        families = (f for f in (4, 6) if f not in tested or not self.uplink_down(chosen, f))
        return replace(
            self.memory,
            standing=standing,
            holder=chosen.public_key,
            families=tuple(families),
            direct=False,
        )

    def order(self) -> list[Exit]:
        """Return the exits in the order of their rank under `manual`: the primary one first."""
        return sorted(self.memory.exits, key=lambda each: each.name != self.memory.primary)

    def override(self) -> str:
        """Return the exit that the admin named; a name that is none is told once, and ignored."""
        try:
            name = OVERRIDE.read_text(encoding="utf-8", errors="replace").strip()[:100]
        except OSError:
            name = ""
        if name != self.memory.override:
            self.memory = replace(self.memory, override=name)
            if name and name not in self.by_name:
                log.warning("%s names %r, which is no exit of this node: ignored", OVERRIDE, name)
        return name

    def proves(self, prober: probe.Prober, each: Exit, *, lent: bool = True) -> bool:
        """Return whether packets come back through an exit, and remember it.

        One that has no default route is `lent` the targets for the length of the probe.
        """
        address = ip_address(each.address)
        tested = {f: every for f, every in self.tested().items() if f in each.versions}
        targets = [target for every in tested.values() for target in every]
        try:
            if lent and targets:
                self.lend(dict.fromkeys(targets, each.public_key))
            sent = [address, *map(ip_address, targets)]
            answers = _round(prober, sent)
        finally:
            if lent and targets:
                self.lend({})
        now = glance.clock()
        lives = dict(self.memory.lives)
        for family, every in tested.items():
            passed = any(ip_address(target) in answers for target in every)
            key = f"{each.name}/{family}"
            lives[key] = select.heard(self.life(key), None, now, works=passed)
            if not passed and (lent or not answers.keys() & {*map(ip_address, targets)}):
                lives[key] = _DEAD
        if not targets and address not in answers:
            lives[each.name] = _DEAD
        self.memory = replace(self.memory, lives=lives)
        return self.usable(each)

    def retest(self, prober: probe.Prober) -> None:
        """Try exits again whose uplinks were dead, now and then."""
        now = glance.clock()
        if now - self.memory.retested_at < RETEST_SECONDS:
            return
        for each in self.memory.exits:
            held = self.holds.get(each.public_key, ())  # those are looked at each time
            down = [f for f in self.tested() if self.uplink_down(each, f) and f not in held]
            if down and select.eligible(self.life(each.name), now):
                self.memory = replace(self.memory, retested_at=now)
                self.proves(prober, each)

    # ------------------------------------------------------------ doing

    def put(self, wanted: Steering) -> bool:
        """Have `wanted` in force, and remember it once it is; return whether it is."""
        before = self.memory
        holder = next((x for x in wanted.exits if x.public_key == wanted.holder), None)
        held = tuple(f for f in wanted.families if holder is not None and f in holder.versions)
        same = (wanted.holder, wanted.families, wanted.direct) == (
            before.holder,
            before.families,
            before.direct,
        )
        if same and self.holds == ({wanted.holder: held} if held else {}):
            self.memory = wanted
            return True
        try:
            self.converge(wanted)
        except LockedError:
            log.info("a change is in flight: the exits are looked at again after it")
            return False
        self.holds = {wanted.holder: held} if held else {}
        if wanted.standing.chosen != before.standing.chosen:
            self.tell(before, wanted)
        return True

    @staticmethod
    def tell(before: Steering, after: Steering) -> None:
        """Say what has changed."""
        old, new = before.standing.chosen, after.standing.chosen
        if new:
            log.info("internet traffic leaves by %s%s", new, f", no longer by {old}" if old else "")
        elif after.direct:
            log.warning("no exit works: internet traffic leaves directly")
        else:
            log.warning("no exit works: internet traffic is blocked")

    def lend(self, lent: Mapping[str, str]) -> None:
        """Have peers carry the targets for as long as a probe takes; {} gives them back."""
        self.memory = replace(self.memory, lent=True)
        if lent:  # before they are: who is killed meanwhile leaves it to the next tick
            history.write_exits(settings.RUN_DIR, self.memory)
        self.converge(replace(self.memory, lent=bool(lent)), lent)

    def converge(self, wanted: Steering, lent: Mapping[str, str] | None = None) -> None:
        """Bring the kernel to the confirmed plan with `wanted` in force, as far as exits go."""
        from ipaddress import ip_network

        from wgmesh.agent import states, steer

        choices = states.steered(wanted)
        if lent:
            choices = replace(choices, lent={ip_network(t): key for t, key in lent.items()})
        keys = history.keys_of(self.memory.exits)

        def concerns(change: "Change", seen: "KernelState") -> bool:
            return _concerns(change, keys, link=seen.link is not None)

        def done() -> None:
            self.memory = wanted
            if not lent:  # at once: others ask what is in force
                history.write_exits(settings.RUN_DIR, wanted)

        steer.follow(self.memory.generation, choices, concerns, done)

    def mend(self) -> None:
        """Put back what others flushed, and follow what changed about the uplinks."""
        if glance.steering() == self.memory.kernel:
            return
        try:
            self.converge(self.memory)
            self.memory = replace(self.memory, kernel=glance.steering())
        except WgmeshError as error:
            log.warning("what keeps traffic in is not whole: %s", error.message)


def _round(prober: probe.Prober, sent: "list[Address]") -> "dict[Address, float]":
    """Probe twice, for one loss must not condemn; return the round trips by address."""
    prober.send(sent)
    answers = prober.receive(VERIFY_SECONDS / 2, sent)
    missing = [each for each in sent if each not in answers]
    if missing:
        prober.send(missing)
        answers |= prober.receive(VERIFY_SECONDS, missing)
    return answers


def _concerns(change: "Change", exits: Collection[str], *, link: bool) -> bool:
    """Return whether `change` is the exit selector's to make: the rest may be somebody's drift."""
    from wgmesh.model.change import (
        FirewallSet,
        PeerSet,
        RouteReplace,
        RuleAdd,
        RuleRemove,
        SysctlSet,
    )

    match change:
        case PeerSet(peer=peer):
            return link and peer.public_key in exits
        case RouteReplace(route=route):
            return link or route.device is None
        case FirewallSet(firewall=firewall):
            return firewall is not None
        case RuleAdd() | RuleRemove() | SysctlSet():
            return True
        case _:
            return False
