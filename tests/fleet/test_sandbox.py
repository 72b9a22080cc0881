"""The units' sandboxes: systemd's own figures, what a service can do from inside, hostile files."""

import json
import re
from pathlib import Path

import pytest

from tests.fleet.booted import BootedMachine
from tests.fleet.mesh import USERSPACE_UNITS, TimedMesh
from tests.lab.wait import wait_until

PROBE = Path(__file__).with_name("sandbox_probe.py")
UNITS = Path("/usr/lib/systemd/system")
FETCH = "/var/lib/wgmesh/fetch"
MOST = {"wgmesh-fetch.service": 1.5}
MOST_FOR_ROOT = 2.6
CANARY = "/run/canary"
BAIT = f"""#!/bin/sh
id -u >>{CANARY}
exit 0
"""
TRAPS = f"""
[core]
\tfsmonitor = {FETCH}/bait
\talternateRefsCommand = {FETCH}/bait
\tpager = {FETCH}/bait
\teditor = {FETCH}/bait
\thooksPath = {FETCH}/hooks
[credential]
\thelper = {FETCH}/bait
[diff]
\texternal = {FETCH}/bait
[gpg "ssh"]
\tprogram = {FETCH}/bait
[uploadpack]
\tpackObjectsHook = {FETCH}/bait
"""
HOOKS = ["reference-transaction", "post-update", "pre-auto-gc", "update", "post-receive"]
# What a fetch that was taken over may leave for root, in place of its files.
HOSTILE = {
    "pipes": "rm -f answer.toml bundle names; mkfifo answer.toml bundle names",
    "links": "ln -sf /etc/shadow answer.toml; ln -sf /etc/shadow bundle; ln -sf /etc/shadow names",
    "huge": "truncate -s 900M bundle answer.toml names",
    "directories": "rm -f answer.toml bundle names; mkdir answer.toml bundle names",
    "nonsense": r"printf '\033]0;owned\007[[[' > answer.toml; head -c 9999 /dev/urandom > bundle",
    "closed": "chmod 0700 .",
    "shut": "chmod 000 .",
    "lie": "id=$(printf f%.0s $(seq 40)); head -c 9999 /dev/urandom > bundle;"
    " remote=$(sed -n 's/^remote = //p' answer.toml | head -n 1);"
    ' printf \'run = "aa"\\noutcome = "reached"\\nbundled = ["%s"]\\n[[said]]\\nremote = %s\\n'
    'commit = "%s"\\n\' $id "$remote" $id > answer.toml',
}
ALLOWED = {"read node.toml", "write its own directory", "reach the forge"}


@pytest.mark.parametrize("name", ["alpha", "bravo", "charlie"])
def test_exposure_as_systemd_sees_it(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    listed = machine.run(
        ["sh", "-c", f"cd {UNITS} && ls wgmesh-*.service wg-*.service"], check=False
    )
    units = [unit for unit in listed.stdout.split() if not unit.startswith("wg-quick")]
    assert "wgmesh-sync.service" in units and "wgmesh-fetch.service" in units
    for unit in USERSPACE_UNITS:  # as packaged: without what only these kernels need
        machine.run(["mv", f"/etc/systemd/system/{unit}.d", f"/root/{unit}.d"])
    machine.run(["systemctl", "daemon-reload"])
    try:
        figures = {unit: exposure(machine, unit) for unit in units}
    finally:
        for unit in USERSPACE_UNITS:
            machine.run(["mv", f"/root/{unit}.d", f"/etc/systemd/system/{unit}.d"])
        machine.run(["systemctl", "daemon-reload"])
    too_much = {u: f for u, f in figures.items() if f > MOST.get(u, MOST_FOR_ROOT)}
    assert too_much == {}, figures


def exposure(machine: BootedMachine, unit: str) -> float:
    """Return the overall exposure level of a unit, 0 to 10."""
    unit = unit.replace("@.", "@wg0.")
    shown = machine.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    figure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert figure, shown
    return float(figure[1])


@pytest.mark.parametrize("name", ["alpha", "bravo", "charlie"])
def test_the_fetch_can_do_its_work_and_nothing_else(mesh: TimedMesh, name: str) -> None:
    outcomes = probe(mesh, name, "wgmesh-fetch.service")
    assert outcomes.pop("uid") != "0"
    assert outcomes.pop("capabilities") == "0000000000000000"
    done = {attempt for attempt, outcome in outcomes.items() if outcome == "done"}
    assert done == ALLOWED, outcomes


@pytest.mark.parametrize("name", ["alpha", "bravo", "charlie"])
def test_the_notify_command_can_tell_and_nothing_else(mesh: TimedMesh, name: str) -> None:
    outcomes = probe(mesh, name, "wgmesh-notify.service")
    assert outcomes.pop("uid") == "0"
    assert outcomes.pop("capabilities") == "0000000000000000"
    done = {attempt for attempt, outcome in outcomes.items() if outcome == "done"}
    assert done == {"read node.toml", "reach the forge", "open a netlink socket"}, outcomes


def test_the_sync_cannot_leave_its_part_of_the_machine(mesh: TimedMesh) -> None:
    outcomes = probe(mesh, "bravo", "wgmesh-sync.service")
    assert outcomes["uid"] == "0"
    assert int(outcomes["capabilities"], 16) == 1 << 12 | 1 << 13  # CAP_NET_ADMIN, CAP_NET_RAW
    for attempt in ("write /etc", "make a user namespace", "make code at run time"):
        assert outcomes[attempt] != "done", attempt
    for attempt in ("read the private key", "open a netlink socket", "write root's state"):
        assert outcomes[attempt] == "done", attempt


@pytest.mark.parametrize("name", ["alpha", "charlie"])
def test_a_hook_does_its_work_inside_of_both_units(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    route = "203.0.113.0/24"
    # and what several users of iptables share: a lock file in /run
    up = f"iptables -w -N HOOK && ip route add {route} dev wg0"
    down = f"iptables -w -X HOOK; ip route del {route} dev wg0 2>/dev/null || true"

    def seen() -> tuple[bool, bool]:
        chain = machine.run(["iptables", "-w", "-n", "-L", "HOOK"], check=False)
        shown = machine.run(["ip", "route", "show", route]).stdout
        return chain.returncode == 0, "dev wg0" in shown

    path = "/etc/wgmesh/wgmesh.toml"
    machine.write(path, "allow_hooks = true\n" + machine.read(path))
    mesh.converge(mesh.change("A hook", **{name: {"post_up": up, "post_down": down}}))
    assert seen() == (True, True), "under wgmesh-sync.service"
    machine.run(["systemctl", "restart", "wg-quick@wg0.service"])
    wait_until(lambda: seen() == (True, True), 20, "it has run under wgmesh-net@wg0.service")
    mesh.wait_for_tunnels()
    mesh.converge(mesh.change("No hook"))
    assert seen() == (False, False)


def probe(mesh: TimedMesh, name: str, unit: str) -> dict[str, str]:
    """Run the probe in a service that differs from `unit` in what it runs, and in nothing else."""
    machine = mesh[name]
    text = machine.read(UNITS / unit)
    argv = f"/usr/bin/python3 /usr/local/lib/probe.py {mesh.fleet.forge.machine.ipv4}"
    text, replaced = re.subn(r"(?m)^ExecStart=.*$", f"ExecStart={argv}", text)
    assert replaced == 1
    machine.write("/usr/local/lib/probe.py", PROBE.read_text())
    machine.write("/run/systemd/system/wgmesh-probe.service", text)
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "start", "wgmesh-probe.service"])
    lines = machine.journal("-u", "wgmesh-probe.service", "-o", "cat").splitlines()
    machine.run(["rm", "-f", "/var/lib/wgmesh/probe", "/var/lib/wgmesh/repository.git/probe"])
    machine.run(["rm", "-f", f"{FETCH}/probe", "/run/wgmesh/probe"])
    outcomes: dict[str, str] = json.loads(next(x for x in reversed(lines) if x.startswith("{")))
    return outcomes


def test_a_repository_that_the_fetch_was_tricked_into_does_nothing_to_root(mesh: TimedMesh) -> None:
    alpha = mesh["alpha"]
    alpha.run(["install", "-m", "0666", "/dev/null", CANARY])
    owner = ["--owner=wgmesh", "--group=wgmesh"]
    alpha.run(["install", "-m", "0755", *owner, "/dev/stdin", f"{FETCH}/bait"], stdin=BAIT)
    alpha.run(["install", "-d", *owner, f"{FETCH}/hooks"])
    for hook in HOOKS:
        for place in (f"{FETCH}/hooks", f"{FETCH}/repository.git/hooks"):
            alpha.run(["install", "-D", *owner, f"{FETCH}/bait", f"{place}/{hook}"])
    alpha.run(["install", *owner, "/dev/stdin", f"{FETCH}/.gitconfig"], stdin=TRAPS)
    alpha.run(["sh", "-c", f"cat >>{FETCH}/repository.git/config"], stdin=TRAPS)
    try:
        # the bait is real: whoever runs git there by itself takes it
        as_user = ["setpriv", "--reuid=wgmesh", "--regid=wgmesh", "--clear-groups", "--"]
        git = ["git", "-C", f"{FETCH}/repository.git", "update-ref", "refs/bait"]
        tip = mesh.author.head
        alpha.run([*as_user, *git, tip], check=False)
        assert set(alpha.read(CANARY).split()) == {alpha.run(["id", "-u", "wgmesh"]).stdout.strip()}
        alpha.write(CANARY, "", 0o666)

        mesh.converge(mesh.change("Seen by the timer", charlie={"persistent_keepalive": 22}))
        commit = mesh.change("Seen by a person")
        alpha.wgmesh("sync")
        mesh.converge(commit)
        for words in (["status"], ["history"], ["diff"]):
            alpha.wgmesh(*words)
        assert alpha.read(CANARY) == ""
    finally:
        names = [f"{FETCH}/{name}" for name in ("bait", "hooks", ".gitconfig", "repository.git")]
        alpha.run(["rm", "-rf", CANARY, *names])
    # made anew by the next fetch
    mesh.converge(mesh.change("After the traps", charlie={"persistent_keepalive": 23}))


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_fetch_that_was_taken_over_leaves_does_not_hold_root_up(
    mesh: TimedMesh, kind: str
) -> None:
    alpha = mesh["alpha"]
    secret = alpha.read("/etc/shadow")
    drop_in = "/run/systemd/system/wgmesh-fetch.service.d/hostile.conf"
    alpha.write("/usr/local/lib/hostile", f"#!/bin/sh\ncd {FETCH}\n{HOSTILE[kind]}\n", 0o755)
    alpha.write(drop_in, "[Service]\nExecStart=\nExecStart=/usr/local/lib/hostile\n")
    alpha.run(["systemctl", "stop", "wgmesh-sync.timer"])
    alpha.run(["systemctl", "daemon-reload"])
    wait_until(lambda: not mesh.turning("alpha"), 60, "no turn is under way")
    before = mesh.status("alpha")["commit"]
    routes = alpha.run(["ip", "route", "show", "dev", "wg0"]).stdout
    alpha.run(["ip", "route", "del", "10.40.0.0/24", "dev", "wg0"])
    try:
        alpha.run(["systemctl", "start", "wgmesh-sync.service"], check=False, timeout=30)
        assert alpha.unit("wgmesh-fetch.service", "Result") == "success", "the hostile one ran"
        assert alpha.unit("wgmesh-sync.service", "ExecMainStatus") != "0"
        assert alpha.run(["ip", "route", "show", "dev", "wg0"]).stdout == routes
        shown = mesh.shown("alpha")
        assert shown and shown["last_sync"]["outcome"] in ("failed", "unreachable")
        said = alpha.journal("-u", "wgmesh-sync.service", "-n", "30", "-o", "cat")
        typed = alpha.wgmesh("sync", check=False, timeout=60)
        assert typed.returncode not in (0, 6)
        for text in (said, typed.stdout, typed.stderr):
            assert "Traceback" not in text and "\033" not in text
            assert not any(line in text for line in secret.splitlines())
        assert mesh.status("alpha")["commit"] == before
        mesh.wait_for_tunnels("alpha", "bravo")
    finally:
        alpha.run(["chmod", "0755", FETCH])
        alpha.run(["sh", "-c", f"cd {FETCH} && rm -rf answer.toml bundle names"])
        alpha.run(["rm", drop_in])
        alpha.run(["systemctl", "daemon-reload"])
        alpha.run(["systemctl", "start", "wgmesh-sync.timer"])
    alpha.wgmesh("sync")
