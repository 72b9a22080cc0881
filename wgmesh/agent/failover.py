"""One tick of the failover: look at every peer that has a choice of endpoints, and move the dead.

Most ticks find all well. Such a tick loads no model, no plan and no kernel code: what it watches
was written down when the confirmed generation changed.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

from wgmesh import glance, history, probe, select, settings
from wgmesh.agent import hubs, ticks
from wgmesh.agent.ticks import FIRST_LOOK_SECONDS, LOOK_SECONDS, MOST_SECONDS, confirmed_generation
from wgmesh.errors import WgmeshError
from wgmesh.files import locked
from wgmesh.glance import Glance
from wgmesh.history import Failover, Watched
from wgmesh.select import Look

log = logging.getLogger(__name__)

ASK_SECONDS = 5.0
ASK_AGAIN_SECONDS = 30.0
"""How long the resolver may take, and how seldom it is asked while a peer stays away."""
MOST_SELDOM_SECONDS = 300.0
"""How far apart the questions to the fetch become, for names that nobody finds."""


def tick() -> None:
    """Look at the watched peers, move those that are dead to where they may be found.

    Raises LockedError when a change is in flight, NotJoinedError, or another WgmeshError.
    """
    ticks.require_a_mesh()
    with locked(settings.LOCK_FILE, patience_seconds=ticks.PATIENCE_SECONDS):
        memory = _up_to_date(history.read_failover(settings.RUN_DIR))
    if memory is None or not (memory.watched or memory.hubs.hubs):
        return
    turn = _Turn(memory)
    try:
        turn.run()
    finally:
        history.write_failover(settings.RUN_DIR, turn.memory)
    if turn.moved:
        ticks.tell_status()


def _up_to_date(memory: Failover) -> Failover | None:
    """Return `memory` for the generation that is confirmed now; None before the first."""
    confirmed = confirmed_generation()
    if memory.generation == confirmed:
        return memory if confirmed else None
    from wgmesh.agent import node

    running = node.running()
    if running is None or running.plan is None:
        return None
    watched = {
        peer.public_key: Watched(peer.name, str(peer.addresses[0]), spelled)
        for peer in running.plan.peers
        if peer.addresses
        and (spelled := tuple(map(str, peer.endpoints)))
        and (len(spelled) > 1 or not peer.endpoints[0].literal)
    }
    from wgmesh.agent import exits, timers

    exits.up_to_date(history.read_exits(settings.RUN_DIR))  # which starts its unit, or does not
    timers.fetch_past_exits(used=running.plan.exits is not None)
    fresh = replace(
        history.followed(memory, confirmed, running.plan.interface, watched),
        hubs=hubs.begun(running.plan, memory.hubs),
    )
    history.write_failover(settings.RUN_DIR, fresh)
    return fresh


class _Turn:
    """The looks of one tick."""

    def __init__(self, memory: Failover) -> None:
        self.memory = memory
        self.moved = False
        self._asked = False

    def run(self) -> None:
        """Look until nothing is left to decide soon, or the tick's time is up."""
        end = glance.clock() + MOST_SECONDS
        waiting: Collection[str] = self.memory.watched
        doubt, seconds = bool(self.memory.hubs.hubs), FIRST_LOOK_SECONDS
        with probe.Prober(self.memory.interface) as prober:
            while (waiting or doubt) and glance.clock() < end:
                before = self.memory.watches
                waiting, moves = self.look(prober, waiting, seconds)
                if self.memory.hubs.hubs:
                    holder = self.memory.hubs.holder
                    self.memory = hubs.settle(self.memory)
                    self.moved |= holder != self.memory.hubs.holder
                    doubt = hubs.in_doubt(self.memory.hubs, glance.clock())
                if waiting or doubt:
                    ticks.prepare()
                if moves:
                    try:
                        self.move(moves)
                    except WgmeshError:
                        kept = {key: before[key] for key in moves if key in before}
                        self.memory = replace(self.memory, watches={**self.memory.watches, **kept})
                        raise
                seconds = LOOK_SECONDS

    def look(
        self, prober: probe.Prober, keys: Collection[str], seconds: float
    ) -> tuple[list[str], dict[str, str]]:
        """Look at peers; return those to look at again soon, and where to move which."""
        targets = {ip_address(self.memory.watched[key].address): key for key in keys}
        sent = {*targets, *hubs.targets(self.memory.hubs)}
        prober.send(sent)
        heard = prober.receive(seconds, sent)
        answers = {targets[each] for each in heard if each in targets}
        there = glance.peers(self.memory.interface)
        now = glance.clock()
        seen_hubs = hubs.looked(self.memory.hubs, heard, now)
        self.memory = replace(self.memory, hubs=seen_hubs)
        silent = [key for key in keys if key in there and key not in answers]
        alive = answers | set(self._otherwise_alive(silent, there))
        self._hear()
        self._resolve([key for key in silent if key not in alive], now)
        watches = dict(self.memory.watches)
        waiting, moves = [], {}
        for key in keys:
            if key not in there:  # not applied yet, or removed by hand: nothing to move
                continue
            watch = watches.get(key) or select.Watch(alive=now)
            addresses = [self._addresses(each) for each in self.memory.watched[key].endpoints]
            step = select.endpoint(
                watch,
                Look(key in alive, there[key].endpoint),
                select.candidates(addresses, watch.good),
                addresses[0],
                now,
            )
            watches[key] = step.watch
            if step.move:
                moves[key] = step.move
            if step.pending:
                waiting.append(key)
        seen = {key: (each.handshake, each.rx_bytes) for key, each in there.items()}
        self.memory = replace(self.memory, watches=watches, seen={**self.memory.seen, **seen})
        return waiting, moves

    def _otherwise_alive(
        self, silent: Collection[str], there: Mapping[str, Glance]
    ) -> Iterator[str]:
        """Yield those of the silent peers that have sent more than handshakes explain."""
        before = {key: self.memory.seen[key] for key in silent if key in self.memory.seen}
        if not before:
            return
        from wgmesh.judge import shows_life
        from wgmesh.model.kernel import PeerCounters

        for key, (handshake, rx_bytes) in before.items():
            now = PeerCounters(there[key].handshake, there[key].rx_bytes, 0)
            if shows_life(PeerCounters(handshake, rx_bytes, 0), now):
                yield key

    def _addresses(self, endpoint: str) -> tuple[str, ...]:
        """Return where `endpoint` leads, as far as is known."""
        host, _, port = endpoint.rpartition(":")
        try:
            return (spell(host.strip("[]"), port),)
        except ValueError:
            return self.memory.resolved.get(endpoint, ())

    def _resolve(self, suspects: Collection[str], now: float) -> None:
        """Ask for the names of peers that are silent, or whose primary may soon be tried again."""
        watches = self.memory.watches
        away = [key for key, watch in watches.items() if watch.endpoint and not watch.back]
        if not suspects:
            away = away if now - self.memory.resolved_at >= select.FAILBACK_SECONDS else []
        elif now - self.memory.resolved_at < ASK_AGAIN_SECONDS and self.memory.resolved_at:
            return
        names = {
            endpoint
            for key in {*suspects, *away}
            if key in self.memory.watched
            for endpoint in self.memory.watched[key].endpoints
            if not _is_address(endpoint.rpartition(":")[0].strip("[]"))
        }
        if not names or self._asked:
            return
        self._asked = True  # once a tick: a dead resolver must not keep it from the other peers
        from wgmesh import resolve
        from wgmesh.agent import naming

        hosts = {name.rpartition(":")[0] for name in names}
        found = resolve.addresses(hosts, seconds=ASK_SECONDS)
        self._learn(found, names)
        self.memory = replace(self.memory, resolved_at=now)
        missing = hosts - found.keys()
        if not missing:
            self.memory = replace(self.memory, named=(), named_wait=0.0)
            return
        known = set(self.memory.named)
        wait = self.memory.named_wait if missing <= known else 0.0
        if now - self.memory.named_at >= wait and naming.ask(missing):
            wait = min(2 * wait or ASK_AGAIN_SECONDS, MOST_SELDOM_SECONDS)
            named = tuple(sorted(known | missing))
            self.memory = replace(self.memory, named=named, named_at=now, named_wait=wait)

    def _hear(self) -> None:
        """Take what the fetch has found of the names that it was asked for at an earlier look."""
        if settings.NAMES_FILE.exists():
            from wgmesh.agent import naming

            every = (each for watched in self.memory.watched.values() for each in watched.endpoints)
            found = naming.answer()
            self._learn(found, every)
            if found:
                self.memory = replace(self.memory, named=(), named_wait=0.0)

    def _learn(self, found: Mapping[str, tuple[str, ...]], endpoints: Iterable[str]) -> None:
        """Remember where those of these endpoints lead whose hosts were found."""
        parts = {each: each.rpartition(":") for each in endpoints}
        fresh = {
            name: tuple(spell(each, port) for each in found[host])
            for name, (host, _, port) in parts.items()
            if host in found
        }
        self.memory = replace(self.memory, resolved={**self.memory.resolved, **fresh})

    def move(self, moves: Mapping[str, str]) -> None:
        """Point peers elsewhere, as one change of the device."""
        from wgmesh.agent import steer
        from wgmesh.model.terms import Endpoint

        places = {key: where.rpartition(":") for key, where in moves.items()}
        endpoints = {
            key: Endpoint(h.strip("[]"), int(port)) for key, (h, _, port) in places.items()
        }
        interface = self.memory.interface
        steer.move(self.memory.generation, interface, endpoints)
        self.moved = True
        # what came meanwhile came from where the peer was before
        there = glance.peers(interface)
        fresh = {key: (there[key].handshake, there[key].rx_bytes) for key in moves if key in there}
        self.memory = replace(self.memory, seen={**self.memory.seen, **fresh})
        for key, endpoint in moves.items():
            log.info("%s: %s", self.memory.watched[key].name, _said(self.memory, key, endpoint))


def spell(address: str, port: str) -> str:
    """Return an endpoint as `wg` spells it. Raises ValueError when `address` is none."""
    value = ip_address(address)
    return f"[{value}]:{port}" if value.version == 6 else f"{value}:{port}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _said(memory: Failover, key: str, endpoint: str) -> str:
    watch = memory.watches[key]
    if watch.back:
        return f"{endpoint} is tried again, after a good time at {watch.back}"
    return f"no answer where it was; it is looked for at {endpoint}"
