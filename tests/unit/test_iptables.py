"""Accepts in others' chains of iptables: which are needed, and which of those there are ours."""

from tests.unit.mesh_inventories import inventory, node, star
from wgmesh.desired import desired
from wgmesh.linux.iptables import needed, ours
from wgmesh.mesh.firewall import ways
from wgmesh.mesh.plan import plan
from wgmesh.model.kernel import KernelState
from wgmesh.model.plan import Accept, NodePlan
from wgmesh.model.terms import Secret

DOCKER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [12:720]
:OUTPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -i wg0 -m comment --comment wgmesh -j ACCEPT
-A DOCKER-USER -i eth0 -o wg0 ANSWERS -m comment --comment wgmesh -j ACCEPT
-A DOCKER-USER -i wg1 -m comment --comment "not wgmesh" -j ACCEPT
-A DOCKER-USER -i wg1 -m comment --comment wgmesh -j DROP
-A OTHER -i wg1 -m comment --comment wgmesh -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
""".replace("ANSWERS", "-m conntrack --ctstate RELATED,ESTABLISHED")


def test_the_better_chain_is_named_where_something_drops() -> None:
    assert needed(DOCKER) == "DOCKER-USER"
    assert needed(DOCKER.replace("-A FORWARD -j DOCKER-USER\n", "")) == "FORWARD"
    assert needed(":FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with x\n") == "FORWARD"
    assert needed(":FORWARD ACCEPT [0:0]\n-A FORWARD -i eth1 -j DROP\n") is None
    assert needed(":FORWARD ACCEPT [0:0]\n") is None
    assert needed("") is None


def test_ours_are_known_by_their_comment() -> None:
    assert set(ours(4, DOCKER)) == {
        Accept(4, "DOCKER-USER", "wg0", None),
        Accept(4, "DOCKER-USER", "eth0", "wg0", established=True),
    }
    assert list(ours(4, "")) == []


def accepts(made: NodePlan) -> set[tuple[str | None, str | None, bool]]:
    """Return what a plan wants accepted in a chain that drops."""
    state = desired(
        made,
        private_key=Secret("k"),
        preshared_keys={},
        observed=KernelState(None),
        previous=None,
        resolved={},
        former_sysctls={},
        dropping={4: "FORWARD"},
    )
    assert {(each.family, each.chain) for each in state.accepts} <= {(4, "FORWARD")}
    return {(each.iif, each.oif, each.established) for each in state.accepts}


def test_what_our_own_table_lets_through_is_accepted_there_too() -> None:
    exit_node = node("alpha", exit_out_iface="eth0", enable_nat=True)
    assert accepts(plan(inventory(exit_node, exit_nodes=("alpha",)), "alpha")) == {
        ("wg0", "eth0", False),
        ("eth0", "wg0", True),
    }
    hub = star(node("alpha"), node("bravo"), node("charlie"), hubs=("alpha", "bravo"))
    assert accepts(plan(hub, "alpha")) == {("wg0", "wg0", False)}
    assert accepts(plan(inventory(node("alpha", forwarding=True)), "alpha")) == {
        ("wg0", None, False),
        (None, "wg0", False),
    }


def test_who_only_uses_exits_wants_none() -> None:
    user = inventory(
        node("alpha"),
        node("bravo", exit_out_iface="eth0", enable_nat=True),
        exit_nodes=("bravo",),
        enable_exit_for_nodes=("alpha",),
    )
    assert list(ways(plan(user, "alpha").firewall)) == []
    assert list(ways(None)) == []
