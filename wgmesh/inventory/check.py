"""What must hold between the fields of an inventory; each function notes one kind of problem."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from wgmesh.inventory.build import ALL, Parsed
from wgmesh.inventory.draft import Report, Table, some
from wgmesh.inventory.meeting import check_meetings
from wgmesh.inventory.overlap import check_overlaps
from wgmesh.model.inventory import Mesh, Node, Rollout
from wgmesh.model.numbers import IPV6_LEAST_MTU
from wgmesh.model.terms import ExitPolicy


def check(parsed: Parsed, report: Report) -> None:
    """Note every problem between fields, tables and nodes; single fields have been looked at."""
    for node in parsed.nodes:
        _check_node(parsed, report, node)
    _check_keys(parsed, report)
    check_overlaps(parsed, report)
    _check_endpoints(parsed, report)
    _check_preshared(parsed, report)
    if parsed.rollout and parsed.draft.rollout:
        _check_rollout(parsed, report, parsed.rollout, parsed.draft.rollout)
    if parsed.mesh is None or parsed.draft.mesh is None:
        return
    _check_mesh(parsed, report, parsed.mesh, parsed.draft.mesh)
    _check_addresses(parsed, report, parsed.mesh)
    _check_exits(parsed, report, parsed.mesh, parsed.draft.mesh)
    check_meetings(parsed, report, parsed.mesh, parsed.draft.mesh)


def _check_node(parsed: Parsed, report: Report, node: Node) -> None:
    table = parsed.table(node)
    for hook, counterpart in (("post_up", "post_down"), ("post_down", "post_up")):
        if hook in table.values and counterpart not in table.values:
            report.error(
                table, hook, f"has no counterpart {counterpart}",
                "post_down undoes what post_up does",
            )  # fmt: skip
    if "endpoint_alt" in table.values and "endpoint" not in table.values:
        report.error(
            table, "endpoint_alt", "stands without endpoint",
            "a node that others can reach names an endpoint first",
        )  # fmt: skip
    if node.endpoint and node.endpoint in node.endpoint_alt:
        report.warning(table, "endpoint_alt", f"{node.endpoint} is the endpoint itself")
    if parsed.mesh and parsed.mesh.interface:
        for field in ("nat_iface", "exit_out_iface"):
            if getattr(node, field) == parsed.mesh.interface:
                report.error(
                    table, field, f"{parsed.mesh.interface} is the mesh's own interface",
                    "name the one that leads to the internet, such as eth0",
                )  # fmt: skip


def _check_keys(parsed: Parsed, report: Report) -> None:
    owners: dict[str, tuple[Node, str]] = {}
    for node in parsed.nodes:
        for field, key in (
            ("public_key", node.public_key),
            ("next_public_key", node.next_public_key),
        ):
            if key is None:
                continue
            if key in owners:
                owner, where = owners[key]
                table = parsed.table(owner)
                whose = "this node" if owner is node else f"node {owner.name}"
                report.error(
                    parsed.table(node), field, f"the key is the {where} of {whose} already",
                    f"first at {table.file}:{table.line(where)}",
                )  # fmt: skip
            else:
                owners[key] = (node, field)


def _check_endpoints(parsed: Parsed, report: Report) -> None:
    owners: dict[object, Node] = {}
    networks = parsed.mesh.mesh_cidr if parsed.mesh else ()
    for node in parsed.nodes:
        for field, endpoints in (
            ("endpoint", (node.endpoint,) if node.endpoint else ()),
            ("endpoint_alt", node.endpoint_alt),
        ):
            for endpoint in endpoints:
                owner = owners.setdefault(endpoint, node)
                if owner is not node:
                    report.warning(
                        parsed.table(node), field,
                        f"{endpoint} is an endpoint of node {owner.name} too",
                        "behind one address each node needs a port of its own",
                    )  # fmt: skip
                if endpoint.literal:
                    ip = ip_address(endpoint.host)
                    if any(ip in network for network in networks):
                        report.warning(
                            parsed.table(node), field, f"{endpoint} lies inside the mesh",
                            "an endpoint is where the node is found outside of the tunnel",
                        )  # fmt: skip


def _check_preshared(parsed: Parsed, report: Report) -> None:
    """Note nodes without a PSK: a tunnel uses one only when both ends name a path."""
    if parsed.draft.broken:
        return
    named = [n for n in parsed.nodes if "preshared_key_path" in parsed.table(n).values]
    others = [n for n in parsed.nodes if "preshared_key_path" not in parsed.table(n).values]
    if named and others:
        report.warning(
            parsed.table(named[0]), "preshared_key_path",
            f"is not set on {some(n.name for n in others)}",
            "a tunnel uses a preshared key only when both ends name a path",
        )  # fmt: skip


def _check_names(
    parsed: Parsed, report: Report, table: Table, field: str, names: Iterable[str]
) -> None:
    known = parsed.names()
    for name in names:
        if name not in known:
            hint = report.did_you_mean(name, known, "" if known else "the mesh has no nodes yet")
            report.error(table, field, f"there is no node '{name}'", hint)


def _check_rollout(parsed: Parsed, report: Report, rollout: Rollout, table: Table) -> None:
    _check_names(parsed, report, table, "canary", rollout.canary)
    if not rollout.canary:
        report.warning(
            table, "canary", "is empty: all wait, and nobody goes first",
            "name nodes whose loss would be noticed and mended soon",
        )  # fmt: skip
    elif parsed.names() and parsed.names() <= set(rollout.canary):
        report.warning(table, "canary", "has every node: nobody waits", "leave some out")
    for node in parsed.nodes:
        if node.name in rollout.canary and not node.managed:
            report.warning(
                table, "canary", f"{node.name} is not managed: it applies nothing by itself",
                "name another node",
            )  # fmt: skip
    if not rollout.soak_seconds:
        report.warning(
            table, "soak_seconds", "is 0: nobody waits", "leave [rollout] out, or let others wait"
        )


def _check_mesh(parsed: Parsed, report: Report, mesh: Mesh, table: Table) -> None:
    lists: tuple[tuple[str, Sequence[str]], ...] = (
        ("hubs", mesh.hubs),
        ("exit_nodes", mesh.exit_nodes),
        ("exit_primary", [mesh.exit_primary] if mesh.exit_primary else []),
        ("enable_exit_for_nodes", mesh.enable_exit_for_nodes),
        ("local_node", [mesh.local_node] if mesh.local_node else []),
    )
    for field, names in lists:
        if not (field == "enable_exit_for_nodes" and names == ALL):
            _check_names(parsed, report, table, field, names)
    for index, network in enumerate(mesh.mesh_cidr):
        for other in mesh.mesh_cidr[:index]:
            if network.version == other.version and network.overlaps(other):
                report.error(table, "mesh_cidr", f"{network} and {other} overlap", "keep one")
    six = any(network.version == 6 for network in mesh.mesh_cidr)
    if six and mesh.mtu < IPV6_LEAST_MTU:
        report.error(
            table, "mtu", f"{mesh.mtu} is too small for IPv6", f"at least {IPV6_LEAST_MTU}"
        )


def _check_addresses(parsed: Parsed, report: Report, mesh: Mesh) -> None:
    if not mesh.mesh_cidr:
        return
    complete = (None, "mesh_cidr") not in parsed.bad
    for node in parsed.nodes:
        for interface in node.address:
            network = next((n for n in mesh.mesh_cidr if interface.ip in n), None)
            if network is None:
                if complete:
                    report.error(
                        parsed.table(node), "address", f"{interface} lies outside of mesh_cidr",
                        f"mesh_cidr is {', '.join(map(str, mesh.mesh_cidr))}",
                    )  # fmt: skip
                continue
            if network.prefixlen >= network.max_prefixlen - 1:
                continue
            reserved = interface.ip == network.network_address or (
                interface.version == 4 and interface.ip == network.broadcast_address
            )
            if reserved:
                report.warning(
                    parsed.table(node), "address",
                    f"{interface.ip} is no host of {network}: its first or last address",
                )  # fmt: skip


def _check_exits(parsed: Parsed, report: Report, mesh: Mesh, table: Table) -> None:
    if mesh.exit_primary and mesh.exit_primary not in mesh.exit_nodes:
        if mesh.exit_primary in parsed.names() and (None, "exit_nodes") not in parsed.bad:
            report.error(
                table, "exit_primary", f"'{mesh.exit_primary}' is not among exit_nodes",
                "add it there",
            )  # fmt: skip
    elif mesh.exit_nodes and mesh.exit_policy is ExitPolicy.MANUAL and not mesh.exit_primary:
        report.warning(
            table, "exit_policy", "is manual, and there is no exit_primary",
            "only an override on each node would choose an exit",
        )  # fmt: skip
    if (
        mesh.enable_exit_for_nodes
        and not mesh.exit_nodes
        and (None, "exit_nodes") not in parsed.bad
    ):
        report.error(table, "enable_exit_for_nodes", "there are no exit_nodes", "name them")
    exits = frozenset(mesh.exit_nodes)
    for node in parsed.nodes:
        if node.name not in exits:
            continue
        own = parsed.table(node)
        if node.exit_out_iface is None and not parsed.is_bad(node, "exit_out_iface"):
            report.error(own, "exit_out_iface", "is missing: the node is an exit", 'such as "eth0"')
        if not node.enable_nat and not parsed.is_bad(node, "enable_nat"):
            what = "is false" if "enable_nat" in own.values else "is missing"
            report.error(own, "enable_nat", f"{what}: the node is an exit", "write true")
        for network in node.allowed_ips:
            if network.prefixlen == 0:
                report.error(
                    own, "allowed_ips", f"{network} is not for an exit to list",
                    "the exit selector gives it to one exit at a time",
                )  # fmt: skip
