"""The fleet: a world of the lab whose nodes are booted machines, and a server for their apt."""

from collections.abc import Mapping
from pathlib import Path

from tests.fleet import roots
from tests.fleet.booted import CGROUPS, BootedMachine
from tests.lab.world import World

MIRROR_NUMBER = 2


class Fleet(World):
    """Booted machines by name: `with Fleet({"alpha": "bookworm"}) as fleet: fleet["alpha"]…`."""

    def __init__(self, suites: Mapping[str, str]) -> None:
        super().__init__(())
        self.cgroups = Path(CGROUPS, self.directory.name)
        self.booted: dict[str, BootedMachine] = {}
        try:
            # cgroup v2 whatever this machine's systemd (or another init) has made of its own
            self.internet.hub.run(["mount", "-t", "cgroup2", "cgroup2", CGROUPS])
            self.mirror = self._machine("mirror")
            self.internet.attach(self.mirror, MIRROR_NUMBER)
            self.add_booted(suites)
        except BaseException:
            self.close()
            raise

    def add_booted(
        self, suites: Mapping[str, str], *, shows: Mapping[Path, str] | None = None
    ) -> list[BootedMachine]:
        """Boot more machines side by side, each of its suite; everyone knows them by name.

        `shows`: directories of this machine that they see, to be read, under these paths.
        """
        roots.make_all(suites.values())
        added = [self._start(name, suite, shows or {}) for name, suite in suites.items()]
        for machine in added:
            machine.settle()
        self._write_hosts()
        return added

    def _start(self, name: str, suite: str, shows: Mapping[Path, str]) -> BootedMachine:
        assert name not in self.nodes, f"{name} is there already"
        number, self._number = self._number, self._number + 1
        state = self.directory / "state" / name
        root, hub, cgroup = roots.make(suite), self.internet.hub, self.cgroups / name
        machine = BootedMachine(name, state, root, hub=hub, cgroup=cgroup, shows=shows)
        self._machines.append(machine)
        self.internet.attach(machine, number)
        machine.start()
        self.nodes[name] = self.booted[name] = machine
        return machine

    def remove(self, name: str) -> None:
        """Take a machine away for good; a name that is not there is fine."""
        machine = self.booted.pop(name, None)
        if machine is not None:
            machine.shut_down()
            self._machines.remove(machine)
            del self.nodes[name]
            self._write_hosts()

    def close(self) -> None:
        """End every process, namespace, cgroup and mount, and delete the files. Harmless twice."""
        hub = self.internet.hub
        while len(self._machines) > 1:
            self._machines[-1].shut_down()
            self._machines.pop()
        if hub.running:
            argv: list[str | Path] = ["find", CGROUPS, "-maxdepth", "1", "-name", self.cgroups.name]
            hub.run([*argv, "-exec", "rmdir", "{}", "+"])
        super().close()
