"""The inventories in data/inventory: one mesh in each of the three formats, and keys for more."""

from base64 import b64encode
from pathlib import Path

DATA = Path(__file__).parent / "data" / "inventory"
FORMATS = ("single", "split", "seed")


def files(form: str) -> dict[str, bytes]:
    """Return the files of one format by the names that users see."""
    folder = DATA / form
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".toml", ".conf"}
    }


def key(number: int) -> str:
    """Return a public key in base64, another one for each number."""
    return b64encode(b"\x01" + number.to_bytes(31, "big")).decode()


def mesh(extra: str = "", *nodes: str, cidr: str = '"10.40.0.0/24"') -> dict[str, bytes]:
    """Return a mesh.toml with `extra` in [mesh], and after it the texts of `nodes`."""
    head = f'[mesh]\ninterface = "wg0"\nmesh_cidr = {cidr}\n{extra}\n'
    return {"mesh.toml": (head + "\n".join(nodes)).encode()}


def node(name: str, number: int, extra: str = "", *, nat: bool = False) -> str:
    """Return the table of a node with the address 10.40.0.`number`."""
    endpoint = "" if nat else f'endpoint = "{name}.example.com"\n'
    return (
        f'[node.{name}]\naddress = "10.40.0.{number}/32"\npublic_key = "{key(number)}"\n'
        f"{endpoint}{extra}\n"
    )
