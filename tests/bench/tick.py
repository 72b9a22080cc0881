"""`python -m tests.bench.tick`: what ticks that find all well cost a node.

A node of the laboratory with an alternative endpoint, two exits and their uplinks to look at; one
of a thousand peers, of which one is there, has an alternative and is the exit; and the failover's
own work where all thousand have alternatives, without the packets.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.bench.cpu import RUNS, medians
from tests.bench.noop_sync import starter
from tests.bench.one_peer import large
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.lab.mesh import Mesh
from tests.lab.world import World
from wgmesh import history, select
from wgmesh.history import Failover, Watched
from wgmesh.select import Look, Watch

FAR = "203.0.113.1"
OTHER = "192.0.2.77:51820"
USES_EXITS = f'exit_test_target = "{FAR}"\nenable_exit_for_nodes = ["alpha"]\n'
PYTHON, FAILOVER, EXITS = "`python3 -c pass`", "`wg-failover`", "`wg-exit-selector`"
MANY = 1000


def call(module: str) -> tuple[str, ...]:
    """Return the argv of a helper, out of the checkout."""
    return (sys.executable, "-c", f"from wgmesh.cli.{module} import main; raise SystemExit(main())")


def measure(world: World, runs: int = RUNS) -> dict[str, float]:
    """Return the median CPU milliseconds of each program on a node that has nothing to do."""
    alpha = world["alpha"]
    programs = {PYTHON: (sys.executable, "-c", "pass"), FAILOVER: call("failover")}
    programs[EXITS] = call("exits")
    return medians({name: starter(alpha, *argv) for name, argv in programs.items()}, runs)


def peak_kbytes(world: World, module: str) -> int:
    """Return the most memory that a tick has held."""
    status = "open('/proc/self/status').read()"  # ru_maxrss would be that of who started it
    peak = f"{status}.partition('VmHWM:')[2].split()[0]"
    code = f"from wgmesh.cli.{module} import main\nmain()\nprint({peak})"
    return int(world["alpha"].run([sys.executable, "-c", code]).stdout.split()[-1])


def thousand(runs: int = RUNS) -> float:
    """Return the CPU milliseconds of reading, deciding and writing for a thousand peers."""
    endpoints = ("192.0.2.1:51820", "192.0.2.2:51820")
    names = [f"key-{number:038}" for number in range(MANY)]
    memory = Failover(
        generation="gen-1 1",
        interface="wg0",
        watched={name: Watched(name, "10.40.0.2", endpoints) for name in names},
        watches={name: Watch(1.0, good=endpoints[0]) for name in names},
        seen=dict.fromkeys(names, (1_790_000_000, 4096)),
    )
    taken = []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        history.write_failover(place, memory)
        for _ in range(runs):
            start = time.process_time()
            known = history.read_failover(place)
            steps = {
                name: select.endpoint(
                    watch, Look(True, endpoints[0]), list(endpoints), endpoints[:1], 5.0
                ).watch
                for name, watch in known.watches.items()
            }
            history.write_failover(place, replace(known, watches=steps))
            taken.append((time.process_time() - start) * 1000)
    return sorted(taken)[len(taken) // 2]


def converged(world: World) -> Mesh:
    """Return a mesh in which alpha has alternatives to watch and exits to choose from."""
    world.internet.beyond(f"{FAR}/32")
    mesh = Mesh(world)
    out = {"exit_out_iface": "eth0", "enable_nat": True}
    both = out | {"endpoint_alt": [OTHER]}
    mesh.enrol("alpha", "bravo", "charlie", bravo=both, charlie=out)
    mesh.sync()
    options = f'exit_nodes = ["bravo", "charlie"]\n{USES_EXITS}'
    mesh.commit({"mesh.toml": mesh.text + options}, "Exits")
    mesh.sync()
    mesh.wait_for_tunnels()
    warm(world)
    return mesh


def crowded(world: World) -> None:
    """Have alpha be one of a thousand, of which bravo alone is there, and is its exit."""
    world.internet.beyond(f"{FAR}/32")
    of = large(world, MANY)
    bravo = f'[node.bravo]\nexit_out_iface = "eth0"\nenable_nat = true\nendpoint_alt = "{OTHER}"'
    text = of.text().replace("[node.bravo]", bravo)
    text = text.replace("[mesh]\n", f'[mesh]\nexit_nodes = "bravo"\n{USES_EXITS}')
    of.mesh.commit({"mesh.toml": text}, "An exit")
    for name in ("bravo", "alpha"):
        world[name].wgmesh("sync", timeout=300)
    warm(world)


def warm(world: World) -> None:
    """Let ticks find out all that they remember."""
    for module in ("failover", "exits") * 2:
        world["alpha"].run(call(module), timeout=120)


def rows(world: World, runs: int, suffix: str = "") -> tuple[list[Row], dict[str, float]]:
    """Return the rows of the table for what ticks cost in a world, and their CPU ms by program."""
    taken = measure(world, runs)
    peaks = {FAILOVER: peak_kbytes(world, "failover"), EXITS: peak_kbytes(world, "exits")}
    found = []
    for name, ms in taken.items():
        mib = peaks[name] / 1024 if name in peaks else None
        label = f"{name}{suffix if name in peaks else ''}"
        found.append(Row(label, (ms, ms / taken[PYTHON], mib)))
    return found, taken


def benchmark(effort: Effort) -> list[Result]:
    """Measure in a mesh of three, and in one of a thousand."""
    runs = effort.of(RUNS)
    with World(("alpha", "bravo", "charlie")) as world:
        converged(world)
        found, taken = rows(world, runs)
    if not effort.quick:
        with World(("alpha", "bravo")) as world:
            crowded(world)
            found += rows(world, runs, f", {MANY:,} peers")[0][1:]
    alone = f"the failover's memory and choice, {MANY:,} peers with alternatives"
    found.append(Row(alone, (thousand(runs), None, None)))
    return [
        Result(
            "tick",
            f"{median_of(runs)}, user and system time, children too",
            "program",
            (Column("CPU ms"), Column("÷ python3", 1), Column("MiB")),
            tuple(found),
            {
                "failover": taken[FAILOVER] / taken[PYTHON],
                "exits": taken[EXITS] / taken[PYTHON],
            },
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.tick", benchmark))
