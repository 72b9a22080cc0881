"""Leaving a mesh."""

from wgmesh import generation, linux, records, settings
from wgmesh.agent import adopt, direct, look, node, second, states, timers
from wgmesh.agent.node import PLACES, Node
from wgmesh.agent.sync import Result, finish_cut_short
from wgmesh.model.kernel import KernelState
from wgmesh.transaction.converge import converge, undisturbed


def leave(*, restore: bool) -> Result:
    """Un-enrol: units off, node.toml gone; the tunnel stays, or generation 0 is restored."""
    node.require_root()
    with node.turn(), node.lock():
        me = node.load_any()
        finish_cut_short()
        if restore:
            _restore(me)
        timers.disable()
        timers.forget()
        settings.remove_enrolment()
        direct.forget()
        records.forget(PLACES.state)
        second.forget()
        linux.bridge.remove_if_present()
        look.forget(me)
        if restore and linux.systemd.running():
            linux.systemd.reload_units()  # for nftables.service, which has its own commands again
    what = "the machine is as it was before" if restore else "the tunnel stays as it is"
    return Result(
        "left", f"this machine has left the mesh; {what}; its key stays at {me.enrolment.key_path}"
    )


def _restore(me: Node) -> None:
    """Bring back what was there before wgmesh, kernel and configuration files."""
    interface = me.enrolment.interface
    current = node.running()
    keys = states.sysctl_keys(current.plan if current is not None else None)
    zero = generation.manifest_path(PLACES.generations, 0).exists()
    before = adopt.before_wgmesh().state if zero else KernelState(None, sysctls=states.former())
    unit = f"wg-quick@{interface}.service" if linux.systemd.running() else ""
    with undisturbed():
        if unit and before.link is None:  # it can take down only an interface that is there
            linux.systemd.stop(unit)
        converge(before, interface, keys | frozenset(before.sysctls), adopt=True)
    generation.unlink_files(PLACES.generations, PLACES.wireguard, interface)
    if unit and before.link is None:
        # somebody had taken the interface away
        linux.systemd.forget_failures(unit, f"wgmesh-net@{interface}.service")
    if unit and not zero:
        linux.systemd.disable(unit)
