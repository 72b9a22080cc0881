"""A team, the server that they push to, and nodes that fetch from it: the chain rule's whole world.

ops may do everything, ann and bob may not change who may, forge is the key of the server's merge
button, eve is nobody.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wgmesh.errors import RefusedError
from wgmesh.gpgv import Gpgv
from wgmesh.model.commit import VerifiedCommit
from wgmesh.repository import transfer
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain, verdict

from .gpg import GpgHome
from .signing import EPOCH, Keys, Workshop, environment, run

NOW = float(EPOCH)
SIGNERS, RULES = "allowed_signers", "trust.toml"
PEOPLE = ("ops", "ann", "bob")
ROLES = """
[roles]
admin = ["ops@example.com"]
merge = ["forge@example.com"]
"""


@dataclass
class Node:
    """A machine of the fleet: its own bare repository, and the tip that it trusts."""

    repository: Repository
    server: Path
    trusted: str
    revoked: tuple[str, ...] = ()

    def fetch(self) -> str:
        """Fetch the branch as a node does and return its tip."""
        tip = transfer.ask(self.repository.path, str(self.server), "main", timeout_seconds=60)
        self.repository.fetch(str(self.server), "main", tip, timeout_seconds=60)
        return tip

    def look(self) -> VerifiedCommit:
        """Fetch, verify and trust what the server has now. Raises RefusedError."""
        found = chain.verify(
            self.repository, self.trusted, self.fetch(), now=NOW, revoked=self.revoked, gpg=Gpgv()
        )
        self.trusted = found.id
        return found

    def verdicts(self) -> list[verdict.Judged]:
        """Return a verdict on each commit that the server has and this node does not trust yet."""
        tip = self.fetch()
        return list(
            verdict.judge(
                self.repository, self.trusted, tip, now=NOW, revoked=self.revoked, gpg=Gpgv()
            )
        )


@dataclass
class Team:
    """The people, who share one clone; `server` is a bare repository, its origin."""

    directory: Path
    work: Workshop
    nodes: list[Node] = field(default_factory=list)

    @classmethod
    def meet(
        cls,
        directory: Path,
        keys: Keys,
        rules: str = ROLES,
        inventory: Mapping[str, str] | None = None,
    ) -> "Team":
        """Return a team with a first commit on the server, by ops; the same each time."""
        work = Workshop(directory / "work", keys).start()
        team = cls(directory, work)
        run(["git", "init", "--quiet", "--bare", "-b", "main", str(team.server)], directory)
        work.git("remote", "add", "origin", str(team.server))
        files = {SIGNERS: keys.signers(*PEOPLE, "forge")} | ({RULES: rules} if rules else {})
        work.commit("Begin", files | dict(inventory or {"mesh.toml": "a\nb\nc\nd\ne\n"}))
        team.publish()
        return team

    @property
    def server(self) -> Path:
        return self.directory / "server.git"

    @property
    def keys(self) -> Keys:
        return self.work.keys

    @property
    def head(self) -> str:
        return self.work.head()

    def publish(self) -> str:
        """Put what is checked out onto the server's main, over whatever is there."""
        self.work.git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
        return self.head

    def settle(self) -> str:
        """Publish, and have every node trust it."""
        tip = self.publish()
        for node in self.nodes:
            assert node.look().id == tip
        return tip

    def node(self) -> Node:
        """Return a new node, which trusts what is checked out."""
        repository = Repository(self.directory / f"node-{len(self.nodes)}.git")
        repository.create()
        node = Node(repository, self.server, self.head)
        node.fetch()
        self.nodes.append(node)
        return node

    def close(self) -> None:
        """End what the nodes have running."""
        for node in self.nodes:
            node.repository.close()

    # ------------------------------------------------------------ what people do

    def commit(
        self, subject: str, files: Mapping[str, str | None] | None = None, *, by: str | None = "ops"
    ) -> str:
        """Commit onto what is checked out; by nobody: unsigned."""
        return self.work.commit(subject, files, sign=by)

    def branch(self, name: str = "side") -> None:
        """Begin a branch at what is checked out."""
        self.work.git("checkout", "--quiet", "-B", name)

    def main(self) -> None:
        """Go back to main."""
        self.work.git("checkout", "--quiet", "main")

    def approve(self, by: str) -> str:
        """Sign the files that the branch has."""
        return self.commit("Approved", by=by)

    def merge(self, name: str = "side", *args: str, by: str | None = "ops") -> str:
        """Merge a branch into what is checked out."""
        return self.work.merge(name, *args, sign=by)

    def press_merge(self, name: str = "side", *args: str) -> str:
        """Merge as the forge's button does."""
        return self.merge(name, *args, by="forge")

    def squash(self, name: str = "side", *, by: str | None = "forge") -> str:
        """Squash as the forge's button does."""
        self.work.git("merge", "--quiet", "--squash", name)
        return self.commit("Squashed (#1)", by=by)

    def run(self, command: str, by: str, home: GpgHome | None = None) -> str:
        """Run a printed command as it is, in the clone of somebody who signs; return main's tip.

        With `home`, `by` is an OpenPGP fingerprint.
        """
        settings = {"gpg.format": "ssh", "user.signingKey": str(self.keys.private(by))}
        if home is not None:
            settings = {"gpg.format": "openpgp", "user.signingKey": by}
        extra = {"GIT_CONFIG_COUNT": str(len(settings))}
        extra |= home.environment if home is not None else {}
        for number, (name, value) in enumerate(settings.items()):
            extra |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.work.path,
            env=environment(self.work.path) | extra,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return run(["git", "rev-parse", "main"], self.server).decode().strip()


def refused(node: Node) -> RefusedError:
    """Return how a node refuses what the server has; it trusts what it did."""
    before = node.trusted
    try:
        found = node.look()
    except RefusedError as error:
        assert node.trusted == before
        return error
    raise AssertionError(f"{found.id} by {found.signer} was accepted")
