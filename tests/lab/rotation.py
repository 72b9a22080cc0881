"""What an operator does to change a node's key: merge what `wgmesh rotate-key` prints."""

from tests.lab.mesh import Mesh


def merge(mesh: Mesh, name: str) -> str:
    """Merge the patch that the node prints, under the message that it proposes; return the id."""
    printed = mesh.world[name].wgmesh("rotate-key")
    assert printed.stdout.startswith("--- a/nodes/"), printed.stderr
    message = printed.stderr.split("commit message: ")[1].strip()
    author = mesh.author
    author.pull()
    patch = author.directory / "rotate.patch"
    patch.write_text(printed.stdout)
    author.git("apply", str(patch))
    author.git("add", "--all")
    return mesh.commit({}, message)


def public_key(mesh: Mesh, name: str) -> str:
    """Return the key that a node's device has."""
    return mesh.world[name].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
