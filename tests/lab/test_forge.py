"""The forge serves nodes, and what people sign and merge there verifies."""

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CommandError
from tests.lab.world import World


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    """Make a node beside the forge."""
    return module_world_factory(["alpha"], ipv6=False)


def test_a_node_clones_from_the_forge_and_pushes_of_people_arrive(world: World) -> None:
    alpha, ann = world["alpha"], world.author("ann")
    first = ann.commit({"mesh.toml": "[mesh]\n", "allowed_signers": ann.allowed_signers_line})
    ann.push()
    clone = ["git", "clone", "--quiet", world.forge.url(), "/var/lib/wgmesh/clone"]
    alpha.run(clone)
    assert alpha.run(["git", "-C", "/var/lib/wgmesh/clone", "rev-parse", "HEAD"]).stdout == (
        f"{first}\n"
    )
    alpha.run(["rm", "-r", "/var/lib/wgmesh/clone"])

    ls = ["git", "ls-remote", world.forge.url(), "main"]
    world.forge.stop()
    refused = alpha.run(ls, check=False)
    assert refused.returncode == 128
    assert "refused" in refused.stderr
    world.forge.start()
    assert alpha.run(ls).stdout.split() == [first, "refs/heads/main"]
    world.forge.freeze()
    with pytest.raises(CommandError, match="outlived"):
        alpha.run(ls, timeout=0.5)
    world.forge.thaw()
    assert alpha.run(ls).stdout.startswith(first)


def test_signatures_of_people_verify(world_factory: WorldFactory) -> None:
    world = world_factory([])
    ann, bob = world.author("ann"), world.author("bob", key_type="ecdsa")
    signers = ann.allowed_signers_line + bob.allowed_signers_line
    first = ann.commit({"allowed_signers": signers, "nodes/a.toml": "a\n"}, "first")
    ann.push()
    ann.git("verify-commit", first)

    proposal = bob.propose("add-b", {"nodes/b.toml": "b\n", "nodes/a.toml": None}, sign=False)
    with pytest.raises(CommandError):
        bob.git("verify-commit", proposal)
    merge = ann.merge("add-b")
    assert ann.git("rev-list", "--parents", "-1", merge).split() == [merge, first, proposal]
    assert ann.git("ls-tree", "-r", "--name-only", merge).split() == [
        "allowed_signers",
        "nodes/b.toml",
    ]
    assert bob.pull() == merge
    verdict = bob.git("log", "-1", "--format=%G? %GS %GF", merge)
    assert verdict.split() == ["G", ann.email, ann.fingerprint]

    signed = bob.commit({}, "by an ecdsa key")
    assert bob.git("log", "-1", "--format=%G?", signed) == "G\n"
    bob.push()
    ann.commit({"x": "y"}, "on an old main")
    with pytest.raises(CommandError, match="rejected"):
        ann.push()
    ann.push(force=True)
    assert bob.pull() == ann.head

    old = ann.fingerprint
    ann.new_key()
    assert ann.fingerprint != old
    forged = ann.commit({}, "by an unknown key")
    assert ann.git("log", "-1", "--format=%G?", forged) != "G\n"
