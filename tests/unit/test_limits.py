"""What is too much is refused in time: long histories, large objects, bombs, servers that trickle.

The remotes are real git, or speak its protocol. WGMESH_SOAK makes everything as large as it can be.
"""

import itertools
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError, UnreachableError, WgmeshError
from wgmesh.repository import transfer
from wgmesh.repository.bare import Repository

from . import packs
from .hostile_git import HostileServer, line
from .packs import Zeros
from .signing import EPOCH, Keys, Workshop, run

SOAK = "WGMESH_SOAK" in os.environ
COMMITS = 100_000
BLOB_BYTES = (2 << 30) if SOAK else (256 << 20)
MEMORY_BYTES = 150 << 20
CHECKOUT = Path(__file__).parents[2]
SECONDS = 300


@pytest.fixture
def work(tmp_path: Path, keys: Keys) -> Workshop:
    """Make a repository with one signed commit on main."""
    work = Workshop(tmp_path / "work", keys).start()
    work.commit("Begin", {"allowed_signers": keys.signers("ops"), "mesh.toml": "one"})
    return work


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Repository]:
    with Repository(tmp_path / "fetch" / "repository.git") as repository:
        repository.ensure()
        yield repository


@dataclass(frozen=True)
class Verdict:
    """How root's work on a new tip ended, and what it took."""

    error: str
    message: str
    peak_bytes: int
    git_peak_bytes: int


def verdict(node: Repository, work: Workshop, trusted: str, tip: str) -> Verdict:
    """Fetch, hand over, and have another process do what root does."""
    node.fetch(f"file://{work.git_dir}", "main", tip, timeout_seconds=SECONDS)
    directory = node.path.parent
    with Repository(directory / "root.git") as root:
        root.ensure()
    assert node.write_bundle(directory / "bundle", "")
    argv = [sys.executable, "-m", "tests.unit.verifying", str(directory / "root.git")]
    argv += [str(directory / "bundle"), trusted, tip]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return Verdict(**json.loads(done.stdout))


# ---------------------------------------------------------------- long


def test_a_hundred_thousand_unsigned_commits(node: Repository, work: Workshop) -> None:
    trusted = work.head()
    commits = (
        f"commit refs/heads/main\nmark :{number}\n"
        f"committer Eve <eve@example.com> {EPOCH + number} +0000\ndata 8\nunsigned\n"
        + (f"from {trusted}\n" if number == 1 else "")
        for number in range(1, COMMITS + 1)
    )
    run(["git", "fast-import", "--quiet"], work.path, stdin="".join(commits).encode())
    tip = work.git("rev-parse", "main")
    oldest = work.git("rev-list", "--first-parent", "--max-count=1", f"--skip={COMMITS - 1}", tip)
    start = time.monotonic()
    found = verdict(node, work, trusted, tip)
    assert time.monotonic() - start < SECONDS
    assert found.error == "RefusedError"
    assert f"commit {oldest[:12]}" in found.message and "not signed" in found.message
    assert found.peak_bytes < MEMORY_BYTES
    assert found.git_peak_bytes < 2 * MEMORY_BYTES


def test_commits_with_long_messages(node: Repository, work: Workshop) -> None:
    """Signed and unsigned ones alike: only a few are held at once."""
    trusted = work.head()
    message = "x" * 1_000_000
    commits = (
        f"commit refs/heads/main\nmark :{number}\n"
        f"committer Eve <eve@example.com> {EPOCH + number} +0000\n"
        f"data {len(message)}\n{message}\n" + (f"from {trusted}\n" if number == 1 else "")
        for number in range(1, 81)
    )
    run(["git", "fast-import", "--quiet"], work.path, stdin="".join(commits).encode())
    found = verdict(node, work, trusted, work.git("rev-parse", "main"))
    assert found.error == "RefusedError" and "not signed" in found.message
    assert found.peak_bytes < MEMORY_BYTES / 2


# ---------------------------------------------------------------- large


def with_large_file(work: Workshop, name: str) -> str:
    """Commit a file of BLOB_BYTES zeros, rightly signed; return the commit."""
    zeros = Zeros(BLOB_BYTES)
    run(["git", "index-pack", "--stdin"], work.path, stdin=packs.joined(zeros.entry(packs.BLOB)))
    listed = work.git("ls-tree", "HEAD").splitlines()
    kept = [entry for entry in listed if entry.partition("\t")[2] != name]
    entries = "\n".join([*kept, f"100644 blob {zeros.id(packs.BLOB)}\t{name}"])
    tree = work.git("mktree", stdin=entries.encode())
    commit = work.git("commit-tree", "-S", "-p", "HEAD", "-m", "Large", tree, sign="ops")
    work.git("update-ref", "refs/heads/main", commit)
    return commit


@pytest.mark.parametrize("name", ["mesh.toml", "allowed_signers"])
def test_a_file_of_gigabytes(node: Repository, work: Workshop, name: str) -> None:
    """It comes in a pack of megabytes; nobody reads it, whoever has signed it."""
    trusted = work.head()
    tip = with_large_file(work, name)
    start = time.monotonic()
    found = verdict(node, work, trusted, tip)
    assert time.monotonic() - start < SECONDS
    assert found.error == "RefusedError"
    assert f"has {BLOB_BYTES} bytes, more than {1 << 20}" in found.message
    assert found.peak_bytes < MEMORY_BYTES
    assert found.git_peak_bytes < 2 * MEMORY_BYTES


# ---------------------------------------------------------------- bombs

COMMIT = packs.commit_of(packs.object_id(packs.TREE, b""))
TIP = packs.object_id(packs.COMMIT, COMMIT)
PLAIN = (packs.entry(packs.COMMIT, COMMIT), packs.entry(packs.TREE, b""))


def test_the_hostile_server_can_be_fetched_from(node: Repository) -> None:
    with HostileServer(TIP, lambda: [packs.joined(*PLAIN)]) as server:
        assert transfer.ask(node.path, server.url, "main", timeout_seconds=SECONDS) == TIP
        node.fetch(server.url, "main", TIP, timeout_seconds=SECONDS)
    assert node.commit(TIP) == COMMIT


def delta_bomb() -> bytes:
    """Return a pack of some kilobytes whose objects have 3 GiB each."""
    return packs.joined(*PLAIN, *packs.delta_bomb(packs.BLOB, 3 << 30, 3))


def tree_bomb() -> bytes:
    """Return a pack with a tree of 2 GiB, which git has to look into."""
    return packs.joined(*PLAIN, Zeros(2 << 30).entry(packs.TREE))


def count_bomb() -> bytes:
    """Return a pack that says that it has four billion objects."""
    return b"PACK" + (2).to_bytes(4, "big") + b"\xff" * 4 + packs.entry(packs.BLOB, b"x")


BOMBS = [delta_bomb, tree_bomb, count_bomb]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pack_bomb_from_a_server(node: Repository, bomb: Callable[[], bytes]) -> None:
    data = bomb()
    assert len(data) < 8 << 20
    start = time.monotonic()
    with (
        HostileServer(TIP, lambda: [data]) as server,
        pytest.raises(RefusedError, match="sent more than a node takes"),
    ):
        node.fetch(server.url, "main", TIP, timeout_seconds=SECONDS)
    assert time.monotonic() - start < SECONDS
    assert not left_behind(node)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pack_bomb_in_a_bundle(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    (tmp_path / "bundle").write_bytes(
        f"# v2 git bundle\n{TIP} refs/wgmesh/fetched\n\n".encode() + bomb()
    )
    with Repository(tmp_path / "root.git") as root:
        root.ensure()
        before = sorted(root.path.rglob("*"))
        with (
            (tmp_path / "bundle").open("rb") as bundle,
            pytest.raises(WgmeshError, match=r"memory|size_t"),
        ):
            root.take_bundle(bundle, [TIP], limit_bytes=64 << 20)
        assert sorted(root.path.rglob("*")) == before


def endless_pack() -> Iterator[bytes]:
    """Yield a pack that never ends."""
    yield b"PACK" + (2).to_bytes(4, "big") + (1 << 20).to_bytes(4, "big")
    for _ in itertools.count():
        body = os.urandom(1 << 20)
        yield packs.head(packs.BLOB, len(body)) + zlib.compress(body, 0)


def test_a_pack_without_end(node: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    if not SOAK:
        monkeypatch.setattr(transfer, "LARGEST_PACK_BYTES", 16 << 20)
    with (
        HostileServer(TIP, endless_pack) as server,
        pytest.raises(RefusedError, match="more than a node takes") as caught,
    ):
        node.fetch(server.url, "main", TIP, timeout_seconds=SECONDS)
    assert "take large files out" in caught.value.hint
    assert not left_behind(node)


def endless_refs() -> Iterator[bytes]:
    """Yield refs that all match what is asked for."""
    lines = [
        line(f"{number:040x} refs/{number}/refs/heads/main\n".encode()) for number in range(999)
    ]
    while True:
        yield b"".join(lines)


def many_refs() -> Iterator[bytes]:
    """Yield more of them than anybody has, and come to an end."""
    return itertools.islice(endless_refs(), 100)


def test_refs_without_end(node: Repository) -> None:
    with HostileServer(TIP, refs=endless_refs) as server:
        for ask in asked(node, server):
            start = time.monotonic()
            with pytest.raises((UnreachableError, RefusedError)):
                ask(2.0)
            assert time.monotonic() - start < 20


def test_more_refs_than_anybody_reads(node: Repository) -> None:
    with (
        HostileServer(TIP, refs=many_refs) as server,
        pytest.raises(UnreachableError, match="says far too much"),
    ):
        transfer.ask(node.path, server.url, "main", timeout_seconds=SECONDS)


# ---------------------------------------------------------------- slow


def asked(node: Repository, server: HostileServer) -> list[Callable[[float], object]]:
    """Return the two things that a node wants of a server, given how many seconds it has."""
    return [
        lambda seconds: transfer.ask(node.path, server.url, "main", timeout_seconds=seconds),
        lambda seconds: node.fetch(server.url, "main", TIP, timeout_seconds=seconds),
    ]


def bytewise(data: bytes) -> Iterator[bytes]:
    """Yield `data` byte by byte, again and again."""
    return (bytes([byte]) for byte in itertools.cycle(data))


def test_a_server_that_trickles_its_refs(node: Repository) -> None:
    ref = line(b"12" * 20 + b" refs/heads/side\n")
    with HostileServer(TIP, refs=lambda: bytewise(ref), delay_seconds=0.1) as server:
        for ask in asked(node, server):
            start = time.monotonic()
            with pytest.raises(UnreachableError, match="the time was up"):
                ask(2.0)
            assert 2 <= time.monotonic() - start < 20


def test_a_server_that_trickles_its_pack(node: Repository) -> None:
    data = packs.joined(*PLAIN, Zeros(64 << 20).entry(packs.BLOB))
    with HostileServer(TIP, lambda: bytewise(data), delay_seconds=0.05) as server:
        assert transfer.ask(node.path, server.url, "main", timeout_seconds=SECONDS) == TIP
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="the time was up"):
            node.fetch(server.url, "main", TIP, timeout_seconds=2)
        assert 2 <= time.monotonic() - start < 20
    assert len(server.asked) == 3 and not left_behind(node)


def left_behind(node: Repository) -> list[Path]:
    """Return what a git that was ended left in the repository, and its processes."""
    files = [path for path in node.path.rglob("*") if path.name.startswith("tmp_")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if str(node.path).encode() in line and b"cat-file" not in line:
            files.append(path)
    return files


# ---------------------------------------------------------------- often


def test_what_a_killed_git_left_is_in_nobodys_way(
    node: Repository, work: Workshop, tmp_path: Path
) -> None:
    remote, tip = f"file://{work.git_dir}", work.head()
    for name in ("objects/pack/tmp_pack_x", "objects/pack/pack-x.keep", "HEAD.lock"):
        (node.path / name).write_bytes(b"left")
    (node.path / "refs" / "wgmesh").mkdir()
    (node.path / "refs" / "wgmesh" / "fetched.lock").write_bytes(b"left")
    node.fetch(remote, "main", tip, timeout_seconds=SECONDS)
    (tmp_path / "bundle.new.lock").write_bytes(b"left")
    assert node.write_bundle(tmp_path / "bundle", "")
    left = [*node.path.rglob("*.lock"), *node.path.rglob("*.keep"), *tmp_path.glob("*.lock")]
    assert not left and not left_behind(node)
    with Repository(tmp_path / "root.git") as root:
        root.ensure()
        (root.path / "refs" / "wgmesh").mkdir()
        (root.path / "refs" / "wgmesh" / "fetched.lock").write_bytes(b"left")
        with (tmp_path / "bundle").open("rb") as bundle:
            root.take_bundle(bundle, [tip], limit_bytes=1 << 20)
        assert root.fetched() == (tip,)


def test_what_was_refused_does_not_fill_the_disk(
    node: Repository, work: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forge that serves another megabyte of noise at each poll."""
    most = 3 << 20
    monkeypatch.setattr(transfer, "LARGEST_REPOSITORY_BYTES", most)
    remote, trusted = f"file://{work.git_dir}", work.head()
    with Repository(tmp_path / "root.git") as root:
        root.ensure()
        for number in range(9):
            node.make_room()
            node.fetch(remote, "main", work.head(), timeout_seconds=SECONDS)
            assert node.write_bundle(tmp_path / "bundle", trusted if number else "")
            with (tmp_path / "bundle").open("rb") as bundle:
                root.take_bundle(bundle, [work.head()], limit_bytes=8 << 20)
            if not number:
                root.keep(trusted)
            for repository in (node, root):
                assert repository.has(trusted) and repository.has(work.head())
                assert transfer.size_bytes(repository.path) < most + (2 << 20)
            work.checkout(trusted)
            (work.path / "noise").write_bytes(os.urandom(1 << 20))
            work.commit("Noise", {}, sign=None)
            work.git("update-ref", "refs/heads/main", work.head())


# ---------------------------------------------------------------- of an admin


@pytest.mark.parametrize("limit", ["--fsize=1000000", "--as=900000000", "--cpu=200"])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_limit_of_the_admins_own_that_is_lower_holds(
    node: Repository, work: Workshop, limit: str, kind: str
) -> None:
    """As of LimitFSIZE= in a drop-in: nobody without rights can raise it, so nobody tries to."""
    code = (
        "import sys; from pathlib import Path; from wgmesh.repository.bare import Repository\n"
        "from wgmesh.repository import transfer\n"
        "path, remote = sys.argv[1:]\n"
        "node = Repository(Path(path))\n"
        "tip = transfer.ask(node.path, remote, 'main', timeout_seconds=60)\n"
        "node.fetch(remote, 'main', tip)\n"
        "print(node.fetched() == (tip,))\n"
    )
    argv = ["prlimit", limit if kind == "hard" else f"{limit}:", "--"]
    if os.geteuid() == 0:
        argv += ["setpriv", "--bounding-set=-sys_resource", "--"]
    argv += [sys.executable, "-c", code, str(node.path), str(work.path)]
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=CHECKOUT, timeout=SECONDS, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_no_git_gets_more_than_this_process_has() -> None:
    code = (
        "from wgmesh.repository.command import Limits\n"
        "print(*Limits(file_bytes=512, cpu_seconds=60).argv)\n"
        "print(*Limits(file_bytes=1 << 40, cpu_seconds=90, memory_bytes=1 << 40).argv)\n"
    )
    argv = ["prlimit", "--fsize=4096:8192", "--cpu=70", "--as=2000000000", "--"]
    argv += [sys.executable, "-c", code]
    small, large = subprocess.check_output(argv, text=True, cwd=CHECKOUT).splitlines()
    assert small.startswith(f"prlimit --as={1 << 30} --cpu=60 --fsize=512 ")
    assert large.startswith("prlimit --as=2000000000 --cpu=70 --fsize=4096 ")
