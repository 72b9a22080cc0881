"""Edits of an inventory's text that keep every comment and the order of what is there."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath

from wgmesh.errors import InventoryError
from wgmesh.inventory import layout, load
from wgmesh.inventory.build import build
from wgmesh.inventory.draft import Report
from wgmesh.inventory.meeting import NO_WAY_HINT
from wgmesh.inventory.toml import read_toml
from wgmesh.inventory.values import BadValue, node_name
from wgmesh.model.inventory import Inventory
from wgmesh.model.terms import Address, Prefix

_INI_COMMENT = re.compile(r"(?:^|[ \t])#")


def add_node(
    files: Mapping[str, bytes], name: str, entry_text: str, *, require_keys: bool = True
) -> dict[str, bytes]:
    """Return the files that change, by name, when the node `name` joins the inventory `files`.

    `entry_text` is what belongs into nodes/NAME.toml. Without an address it gets the next free one
    of each mesh_cidr. The node becomes a file of its own, unless the inventory is a single file
    that has its nodes inside. Raises InventoryError when the inventory is invalid before or after,
    or has that name or key already.
    """
    try:
        node_name(name)
    except BadValue as bad:
        raise InventoryError(bad.message, bad.hint) from None
    before = load(files, require_keys=require_keys)
    if any(node.name == name for node in before.nodes):
        raise InventoryError(
            f"the inventory has a node '{name}' already", "choose another name, or edit that one"
        )
    found = layout(files)
    top = (found.mesh + found.conf)[0]
    own_file = str(PurePosixPath(top).parent / "nodes" / f"{name}.toml")
    entry = entry_text.replace("\r\n", "\n").strip("\n")
    if "address" not in _entry_values(own_file, entry):
        addresses = next_addresses(before)
        shown = ", ".join(f'"{ip}/{ip.max_prefixlen}"' for ip in addresses)
        entry = f"address = {f'[{shown}]' if len(addresses) > 1 else shown}\n{entry}".rstrip("\n")
    # Alone first, so that an entry can hold no table of another node.
    values = _entry_values(own_file, entry, require_keys=require_keys)
    if found.conf:
        changed = {top: _append(files[top], f'[node "{name}"]\n{_as_conf(values)}')}
    elif found.nodes or (not before.nodes and PurePosixPath(top).name == "mesh.toml"):
        changed = {own_file: f"{entry}\n".encode()}
    else:
        changed = {top: _append(files[top], f"[node.{name}]\n{entry}\n")}
    try:
        load({**files, **changed}, require_keys=require_keys)
    except InventoryError as error:
        relay = next((node.name for node in before.nodes if node.endpoint is not None), None)
        if error.hint != NO_WAY_HINT or relay is None:
            raise
        hint = f"{error.hint}: --forwarding {relay} does that"
        raise InventoryError(error.message, hint, error.problems) from None
    return changed


def next_addresses(inventory: Inventory) -> tuple[Address, ...]:
    """Return one free address of each mesh_cidr, lowest first.

    The first network gives the lowest free host; the others the same host number where that is
    free, else their own lowest. What lies in somebody's allowed_ips is not free, unless these
    cover the whole network. Raises InventoryError when a network is full.
    """
    chosen: list[Address] = []
    number: int | None = None
    for network in inventory.mesh.mesh_cidr:
        taken = _taken(inventory, network)
        if number is None or not _is_free(network, number, taken):
            free = _lowest_free(network, taken)
            number = free if number is None else number
        else:
            free = number
        make = IPv4Address if network.version == 4 else IPv6Address
        chosen.append(make(int(network.network_address) + free))
    return tuple(chosen)


def _hosts(network: Prefix) -> tuple[int, int]:
    """Return the first and last host number; RFC 3021 and RFC 6164 use both of a pair."""
    last = network.num_addresses - 1
    if network.prefixlen >= network.max_prefixlen - 1:
        return 0, last
    return 1, last - 1 if network.version == 4 else last


def _taken(inventory: Inventory, network: Prefix) -> list[tuple[int, int]]:
    """Return the spans of host numbers that are in use, sorted."""
    base = int(network.network_address)
    spans: list[tuple[int, int]] = []
    for node in inventory.nodes:
        for interface in node.address:
            if interface.ip in network:
                spans.append((int(interface.ip) - base,) * 2)
        for prefix in node.allowed_ips:
            if prefix.version != network.version or prefix.prefixlen <= network.prefixlen:
                continue
            first = int(prefix.network_address)
            if prefix.network_address in network:
                spans.append((first - base, first - base + prefix.num_addresses - 1))
    return sorted(spans)


def _is_free(network: Prefix, number: int, taken: Sequence[tuple[int, int]]) -> bool:
    first, last = _hosts(network)
    return first <= number <= last and not any(low <= number <= high for low, high in taken)


def _lowest_free(network: Prefix, taken: Sequence[tuple[int, int]]) -> int:
    free, last = _hosts(network)
    for low, high in taken:
        if low > free:
            break
        free = max(free, high + 1)
    if free > last:
        raise InventoryError(f"no address of {network} is free", "widen or add a mesh_cidr")
    return free


def _entry_values(
    file: str, entry: str, *, require_keys: bool | None = None
) -> Mapping[str, object]:
    """Return the values of an entry; raises InventoryError when it is no TOML.

    Unless `require_keys` is None its fields must be good ones, too.
    """
    report = Report()
    data = entry.encode("utf-8", "surrogatepass")  # the reader refuses what is no UTF-8
    draft = read_toml(None, [file], {file: data}, report)
    if require_keys is not None:
        build(draft, report, require_keys=require_keys)
    if report.failed():
        problems = report.problems()
        field = f"{problems[0].field}: " if problems[0].field else ""
        raise InventoryError(
            f"the entry is invalid: {field}{problems[0].message}", problems[0].hint, problems
        )
    return draft.nodes[PurePosixPath(file).stem].values


def _append(data: bytes, section: str) -> bytes:
    """Return the file with a section at its end, in the line ends that the file has."""
    text = f"\n{section}" if data.endswith(b"\n") or not data else f"\n\n{section}"
    added = text.encode()
    return data + (added.replace(b"\n", b"\r\n") if b"\r\n" in data else added)


def _as_conf(values: Mapping[str, object]) -> str:
    """Return good values of a node as lines of the INI format."""
    return "".join(f"{key} = {conf_value(key, value)}\n" for key, value in values.items())


def conf_value(key: str, value: object) -> str:
    """Return a good value as the INI form has it. Raises InventoryError when it cannot."""
    match value:
        case bool():
            text = "true" if value else "false"
        case list():
            text = ", ".join(map(str, value))
        case _:
            text = str(value)
    if _INI_COMMENT.search(text):
        raise InventoryError(
            f"{key} cannot be written into mesh.conf: ' #' would begin a comment",
            "`wgmesh convert` makes a mesh.toml, which can hold it",
        )
    return text
