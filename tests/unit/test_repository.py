"""The bare repository against real git: fetching, reading, refusing, mending what was refused."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from wgmesh.errors import (
    InventoryError,
    RefusedError,
    UnreachableError,
    UsageError,
    WgmeshError,
)
from wgmesh.repository import inventory_files, transfer
from wgmesh.repository.bare import Repository
from wgmesh.repository.checkout import files_at
from wgmesh.repository.remote import check_branch, check_remote
from wgmesh.trust import chain

from .signing import EPOCH, Keys, Workshop, pushed, run

NOW = float(EPOCH)
SECONDS = 30


@pytest.fixture
def work(tmp_path: Path, keys: Keys) -> Workshop:
    return pushed(tmp_path, keys)


@pytest.fixture
def hub(tmp_path: Path) -> str:
    return str(tmp_path / "hub.git")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Repository]:
    with Repository(tmp_path / "state" / "repository.git") as repository:
        assert repository.ensure()
        yield repository


def pull(node: Repository, hub: str) -> str:
    tip = transfer.ask(node.path, hub, "main", timeout_seconds=SECONDS)
    node.fetch(hub, "main", tip, timeout_seconds=SECONDS)
    assert node.fetched() == (tip,)
    return tip


# ---------------------------------------------------------------- names


def test_remotes_that_may_be() -> None:
    for remote in (
        "https://example.com/mesh.git",
        "https://example.com:8443/team/mesh.git",
        "ssh://git@example.com:2222/mesh.git",
        "ssh://git@[fd00::1]/mesh.git",
        "git@example.com:team/mesh.git",
        "ssh://APKAEIBAERJR2EXAMPLE@example.com/v1/mesh",
        "git://10.0.0.1/mesh.git",
        "file:///srv/mesh.git",
        "/srv/mesh.git",
        "/srv/odd:name@x/mesh.git",
    ):
        assert check_remote(remote) == remote
    assert check_remote("mesh.git") == str(Path.cwd() / "mesh.git")


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "-x",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c true",
        "ext::true",
        "fd::3",
        "http://example.com/mesh.git",
        "ftp://example.com/mesh.git",
        "ssh://-oProxyCommand=x/mesh.git",
        "git@-oProxyCommand=x:mesh.git",
        "https:///mesh.git",
        ":mesh.git",
        "a b",
        "a\nb",
        "a\x1b[2J",
    ],
)
def test_remotes_that_may_not_be(remote: str, node: Repository) -> None:
    with pytest.raises(UsageError) as caught:
        check_remote(remote)
    assert caught.value.hint and caught.value.message.isprintable()
    with pytest.raises(UsageError):
        transfer.ask(node.path, remote, "main", timeout_seconds=SECONDS)
    with pytest.raises(UsageError):
        node.fetch(remote, "main", "12" * 20, timeout_seconds=SECONDS)


@pytest.mark.parametrize(
    "remote",
    [
        "https://ada:hunter2@example.com/mesh.git",
        "https://:hunter2@example.com/mesh.git",
        "https://ghp_hunter2@example.com/mesh.git",
        "https://ada%3Ahunter2@example.com/mesh.git",
        "https://ada:hunter2/and/more@example.com/mesh.git",
        "https://ada:hunter2#more@example.com/mesh.git",
        "https://ada:hunter2?more@example.com/mesh.git",
        "https://hunter2@example.com/mesh.git",
        "https://hunter2hunter2@dev.azure.com/team/mesh",
        "HTTPS://hunter2@example.com/mesh.git",
        "https://example.com/mesh.git?private_token=hunter2",
        "https://example.com/mesh.git#hunter2",
        "git://hunter2@example.com/mesh.git",
        "git://ada:hunter2/more@example.com/mesh.git",
        "ssh://ada:hunter2@example.com/mesh.git",
        "ssh://ada:hunter2/more@example.com/mesh.git",
        "ssh://ada:hunter2#more@example.com/mesh.git",
        "ssh://ATBBhunter2@example.com/mesh.git",
        f"ssh://{'hunter2' * 5}@example.com/mesh.git",
        "file://ada:hunter2@example.com/mesh.git",
        "ada:hunter2@example.com:mesh.git",
        "ada:hunter2/more@example.com:mesh.git",
        "ghp_hunter2@example.com:mesh.git",
        f"{'hunter2' * 5}@example.com:mesh.git",
    ],
)
def test_a_password_in_a_remote_is_refused_and_not_repeated(remote: str) -> None:
    with pytest.raises(UsageError, match="password") as caught:
        check_remote(remote)
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_branches() -> None:
    for good in ("main", "release/1.0", "a_b-c@d"):
        assert check_branch(good) == good
    for bad in ("", "-x", "a..b", "a:b", "+a", "a*", "a//b", "a/", ".a", "a.lock", "a@{1}", "a b"):
        with pytest.raises(UsageError):
            check_branch(bad)


# ---------------------------------------------------------------- remotes


def test_ls_remote_and_fetch(work: Workshop, hub: str, node: Repository) -> None:
    for remote in (hub, f"file://{hub}"):
        assert transfer.ask(node.path, remote, "main", timeout_seconds=SECONDS) == work.head()
    assert not node.has(work.head()) and node.fetched() == ()
    tip = pull(node, hub)
    assert node.inventory_files(tip, ".") == {"mesh.toml": b"one"}
    refs = run(["git", "for-each-ref", "--format=%(refname)"], node.path).decode()
    assert refs.split() == ["refs/wgmesh/fetched"]
    assert not (node.path / "hooks").exists() and node.path.stat().st_mode & 0o777 == 0o700
    node.keep(tip)
    assert node.kept() == tip


def test_ls_remote_needs_no_repository(work: Workshop, hub: str, tmp_path: Path) -> None:
    with Repository(tmp_path / "none") as node:
        assert transfer.ask(node.path, hub, "main", timeout_seconds=SECONDS) == work.head()
        with pytest.raises(WgmeshError, match="no repository"):
            node.fetch(hub, "main", work.head(), timeout_seconds=SECONDS)


def test_only_the_exact_branch_counts(work: Workshop, hub: str, node: Repository) -> None:
    head = work.head()
    work.commit("Elsewhere")
    work.git("push", "--quiet", "origin", "HEAD:refs/aaa/refs/heads/main", "HEAD:refs/tags/main")
    assert transfer.ask(node.path, hub, "main", timeout_seconds=SECONDS) == head
    assert pull(node, hub) == head


def test_a_missing_branch(work: Workshop, hub: str, node: Repository) -> None:
    with pytest.raises(UnreachableError, match="has no branch trunk"):
        transfer.ask(node.path, hub, "trunk", timeout_seconds=SECONDS)


def test_an_unreachable_remote(tmp_path: Path, node: Repository) -> None:
    for remote in (str(tmp_path / "nothing.git"), "git://127.0.0.1:1/mesh.git"):
        with pytest.raises(UnreachableError, match="cannot be reached") as caught:
            transfer.ask(node.path, remote, "main", timeout_seconds=SECONDS)
        assert caught.value.exit_code == 5 and caught.value.message.isprintable()
        with pytest.raises(UnreachableError, match="cannot be reached"):
            node.fetch(remote, "main", "12" * 20, timeout_seconds=SECONDS)


def test_a_remote_that_never_answers(tmp_path: Path) -> None:
    script = tmp_path / "ssh"
    script.write_text(
        "#!/bin/sh\necho $$ >>pids\nexec sleep 300\n".replace("pids", f"{script}.pids")
    )
    script.chmod(0o755)
    with Repository(tmp_path / "node", environment={"GIT_SSH_COMMAND": str(script)}) as node:
        node.create()
        begin = time.monotonic()
        with pytest.raises(UnreachableError, match="time was up"):
            node.fetch("ssh://example.com/x", "main", "12" * 20, timeout_seconds=0.5)
        assert time.monotonic() - begin < 20
    (pid,) = Path(f"{script}.pids").read_text().split()
    deadline = time.monotonic() + 10  # it is dead at once, but somebody has to notice
    while running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(int(pid)), "ssh was left behind"


def running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends between open and read
        return False


def test_a_directory_of_another_user(work: Workshop, hub: str, node: Repository) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    os.chown(hub, 65534, 65534)
    with pytest.raises(UnreachableError, match="dubious ownership") as caught:
        transfer.ask(node.path, hub, "main", timeout_seconds=SECONDS)
    assert "must belong" in caught.value.hint


def test_a_branch_that_moves_between_question_and_fetch(
    work: Workshop, hub: str, node: Repository
) -> None:
    asked = transfer.ask(node.path, hub, "main", timeout_seconds=SECONDS)
    work.commit("Moved on")
    work.git("push", "--quiet")
    node.fetch(hub, "main", asked, timeout_seconds=SECONDS)
    assert node.fetched() == (asked,)
    with pytest.raises(UnreachableError):
        node.fetch(hub, "main", "12" * 20, timeout_seconds=SECONDS)


def test_a_shallow_server(work: Workshop, hub: str, node: Repository, tmp_path: Path) -> None:
    work.commit("Second")
    work.git("push", "--quiet")
    run(["git", "clone", "-q", "--bare", "--depth=1", f"file://{hub}", "shallow.git"], tmp_path)
    shallow = str(tmp_path / "shallow.git")
    tip = transfer.ask(node.path, shallow, "main", timeout_seconds=SECONDS)
    with pytest.raises(UnreachableError):
        node.fetch(shallow, "main", tip, timeout_seconds=SECONDS)
    assert not (node.path / "shallow").exists()


@pytest.mark.parametrize(
    "names", [[b".."], [b"."], [b".git"], [b".GIT"], [b"a/b"], [b"twice", b"twice"]]
)
def test_malformed_objects_are_refused_while_fetching(
    work: Workshop, hub: str, node: Repository, names: list[bytes]
) -> None:
    blob = work.git("hash-object", "-w", "--stdin", stdin=b"x")
    tree = b"".join(b"100644 " + name + b"\0" + bytes.fromhex(blob) for name in names)
    argv = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    bad_tree = run(argv, work.path, stdin=tree).decode().strip()
    bad = work.git("commit-tree", "-p", "HEAD", "-m", "Dots", bad_tree)
    work.git("push", "--quiet", "origin", f"{bad}:main")
    tip = transfer.ask(node.path, hub, "main", timeout_seconds=SECONDS)
    with pytest.raises(RefusedError, match="git refuses"):
        node.fetch(hub, "main", tip, timeout_seconds=SECONDS)
    assert node.fetched() == ()


def test_nobodys_configuration_or_environment_counts(
    work: Workshop, hub: str, node: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As inside a hook of another repository, in the home of somebody with rewritten URLs."""
    (tmp_path / "home").mkdir()
    text = f'[url "{tmp_path}/elsewhere"]\n\tinsteadOf = {hub}\n'
    (tmp_path / "home" / ".gitconfig").write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "objects"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{tmp_path}/elsewhere.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", hub)
    monkeypatch.chdir(work.path)
    tip = pull(node, hub)
    assert node.commit(tip).startswith(b"tree ")
    assert files_at(work.path, tip, ".") == {"mesh.toml": b"one"}
    assert not (tmp_path / "objects").exists()


def test_what_one_remote_gave_outlasts_the_next_one(
    work: Workshop, hub: str, node: Repository, tmp_path: Path
) -> None:
    """Neither git's tidying nor the next fetch may lose what has no ref yet."""
    run(["git", "config", "gc.autoPackLimit", "1"], node.path)
    run(["git", "clone", "--quiet", "--bare", hub, "other.git"], tmp_path)
    other = str(tmp_path / "other.git")
    base = pull(node, hub)
    told = []
    for remote in (hub, other):
        work.checkout(base)
        told.append(work.commit(f"For {remote}"))
        work.git("push", "--quiet", remote, "HEAD:main")
        node.fetch(remote, "main", told[-1], timeout_seconds=SECONDS)
    node.hold(told)
    assert node.fetched() == tuple(told)
    assert len(list((node.path / "objects" / "pack").glob("*.pack"))) == 1
    node.close()
    assert all(node.reaches(commit) for commit in told)
    node.hold(told[1:])
    assert node.fetched() == (told[1],)


# ---------------------------------------------------------------- the printed repair


def mend(work: Workshop, hint: str, sign: str = "ops") -> None:
    """Run the last line of a hint in the work tree, as a person would paste it."""
    work.git("config", "gpg.format", "ssh")
    work.git("config", "user.signingkey", str(work.keys.private(sign)))
    run(["sh", "-ec", hint.splitlines()[-1]], work.path)


def refused_then_mended(
    work: Workshop, hub: str, node: Repository, trusted: str, clone: Workshop | None = None
) -> str:
    """Require that the tip is refused, mend it in a clone, and return what is then accepted."""
    bad = pull(node, hub)
    with pytest.raises(RefusedError) as caught:
        chain.verify(node, trusted, bad, now=NOW)
    mend(clone or work, caught.value.hint)
    good = pull(node, hub)
    assert chain.verify(node, trusted, good, now=NOW).signer == "ops@example.com"
    assert work_tree(node, good) == work_tree(node, trusted)
    return good


def work_tree(node: Repository, commit: str) -> bytes:
    return node.commit(commit).splitlines()[0]


@pytest.fixture
def clone(tmp_path: Path, work: Workshop, hub: str) -> Workshop:
    run(["git", "clone", "--quiet", hub, "clone"], tmp_path)
    return Workshop(tmp_path / "clone", work.keys)


@pytest.mark.parametrize("sign", [None, "eve"])
def test_mending_a_bad_push(
    work: Workshop, hub: str, node: Repository, clone: Workshop, sign: str | None
) -> None:
    first = pull(node, hub)
    work.commit("Bad", {"mesh.toml": "evil"}, sign=sign)
    work.commit("Signed, on top of it", {"mesh.toml": "fine"})
    work.git("push", "--quiet")
    good = refused_then_mended(work, hub, node, first, clone)
    work.git("pull", "--quiet", "--ff-only")
    tip = work.commit("Life goes on")
    work.git("push", "--quiet")
    assert pull(node, hub) == tip
    assert chain.verify(node, good, tip, now=NOW).id == tip
    assert chain.verify(node, first, tip, now=NOW).id == tip


def test_mending_a_forced_sibling(work: Workshop, hub: str, node: Repository) -> None:
    first = work.head()
    trusted = work.commit("Trusted", {"mesh.toml": "two"})
    work.git("push", "--quiet")
    assert pull(node, hub) == trusted
    work.checkout(first)
    work.commit("Instead", {"mesh.toml": "three"})
    work.git("push", "--quiet", "--force", "origin", "HEAD:main")
    refused_then_mended(work, hub, node, trusted)


def test_mending_an_unrelated_root(
    work: Workshop, hub: str, node: Repository, clone: Workshop
) -> None:
    first = pull(node, hub)
    work.git("checkout", "--quiet", "--orphan", "other")
    work.commit("Another mesh", {"mesh.toml": "other"})
    work.git("push", "--quiet", "--force", "origin", "HEAD:main")
    refused_then_mended(work, hub, node, first, clone)


def test_mending_a_rewind(work: Workshop, hub: str, node: Repository) -> None:
    first = work.head()
    trusted = work.commit("Trusted", {"mesh.toml": "two"})
    work.git("push", "--quiet")
    assert pull(node, hub) == trusted
    work.git("push", "--quiet", "--force", "origin", f"{first}:main")
    assert refused_then_mended(work, hub, node, trusted) == trusted


def test_mending_a_tip_by_a_revoked_key(
    work: Workshop, hub: str, node: Repository, keys: Keys, clone: Workshop
) -> None:
    first = pull(node, hub)
    tip = work.commit("By Ann", sign="ann")
    work.git("push", "--quiet")
    assert pull(node, hub) == tip
    revoked = [keys.fingerprint("ann")]
    with pytest.raises(RefusedError) as caught:
        chain.verify(node, tip, tip, now=NOW, revoked=revoked)
    mend(clone, caught.value.hint)
    good = pull(node, hub)
    assert chain.verify(node, tip, good, now=NOW, revoked=revoked).id == good
    with pytest.raises(RefusedError):
        chain.verify(node, first, tip, now=NOW, revoked=revoked)


# ---------------------------------------------------------------- the inventory's files


def test_inventory_files(work: Workshop, node: Repository, hub: str) -> None:
    tip = work.commit(
        "A mesh below a directory",
        {
            "sub/mesh/mesh.toml": "mesh",
            "sub/mesh/nodes/alpha.toml": "alpha",
            "sub/mesh/nodes/README.md": "no inventory",
            "sub/mesh/nodes/.#alpha.toml": "an editor's",
            "sub/mesh/nodes/#alpha.toml": "an editor's",
            "sub/mesh/nodes/alpha.toml~": "an editor's",
            "sub/mesh/nodes/deep/beta.toml": "too deep",
            "seed/mesh.conf": "[mesh]",
        },
    )
    work.git("push", "--quiet")
    pull(node, hub)
    below = {"mesh.toml": b"mesh", "nodes/alpha.toml": b"alpha"}
    assert node.inventory_files(tip, "sub/mesh") == below
    assert node.inventory_files(tip, "./sub/mesh/") == below
    assert node.inventory_files(tip, "seed") == {"mesh.conf": b"[mesh]"}
    assert node.inventory_files(tip, "sub") == {}
    with pytest.raises(InventoryError, match="has no sub/other"):
        node.inventory_files(tip, "sub/other")
    for path in ("/etc", "../x", "a\nb"):
        with pytest.raises(UsageError):
            node.inventory_files(tip, path)
    assert files_at(work.path, "HEAD", "sub/mesh") == below
    assert files_at(work.path / "sub" / "mesh", "main", ".") == below
    assert files_at(work.path / "sub", tip[:8], "./mesh") == below
    assert files_at(work.path, "HEAD~1", "mesh.toml") == {"mesh.toml": b"one"}
    assert files_at(work.path, "HEAD", "seed/mesh.conf") == {"mesh.conf": b"[mesh]"}


def test_hostile_revisions(work: Workshop, tmp_path: Path) -> None:
    for rev in ("", "-h", "--output=x", "--all", "nothing", "HEAD:mesh.toml", "a\0b", "HEAD..HEAD"):
        with pytest.raises(UsageError):
            files_at(work.path, rev, ".")
    with pytest.raises(UsageError, match="no git repository"):
        files_at(tmp_path, "HEAD", ".")
    with pytest.raises(UsageError, match="no directory"):
        files_at(tmp_path / "nothing", "HEAD", ".")


def tree(work: Workshop, entries: Mapping[str, str]) -> str:
    """Commit a tree of `mode kind id` by name, without touching any file."""
    lines = "".join(f"{what}\t{name}\n" for name, what in entries.items())
    made = work.git("mktree", "--missing", stdin=lines.encode())
    return work.git("commit-tree", "-m", "made", made)


def test_what_is_no_plain_file_is_refused(work: Workshop) -> None:
    blob = work.git("hash-object", "-w", "--stdin", stdin=b"mesh.conf")
    link, module = f"120000 blob {blob}", f"160000 commit {'12' * 20}"
    file, folder = f"100644 blob {blob}", f"040000 tree {work.tree('HEAD')}"
    with Repository(work.git_dir) as objects:
        for what, said in (
            (link, "a symbolic link"),
            (module, "a submodule"),
            (folder, "a directory"),
        ):
            with pytest.raises(RefusedError, match=f"mesh.toml is {said}"):
                objects.inventory_files(tree(work, {"mesh.toml": what}), ".")
        nodes = f"040000 tree {work.git('mktree', stdin=f'{link}{chr(9)}a.toml'.encode())}"
        with pytest.raises(RefusedError, match=r"nodes/a.toml is a symbolic link") as caught:
            objects.inventory_files(tree(work, {"mesh.toml": file, "nodes": nodes}), ".")
        assert caught.value.exit_code == 4 and caught.value.commit
        with pytest.raises(RefusedError, match="nodes is a symbolic link"):
            objects.inventory_files(tree(work, {"mesh.toml": file, "nodes": link}), ".")
        with pytest.raises(InventoryError):
            objects.inventory_files(tree(work, {"sub": link}), "sub/mesh")
        plain = tree(work, {"mesh.toml": f"100755 blob {blob}", "README": link})
        assert objects.inventory_files(plain, ".") == {"mesh.toml": b"mesh.conf"}


def test_sizes_are_bounded(work: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    tip = work.commit("Large", {"mesh.toml": "x" * 900, "nodes/a.toml": "y" * 200})
    with Repository(work.git_dir) as objects:
        assert len(objects.inventory_files(tip, ".")) == 2
        for name, limit, said in (
            ("LARGEST_FILE_BYTES", 899, "mesh.toml has 900 bytes"),
            ("LARGEST_TOTAL_BYTES", 1000, "more than 1000 bytes"),
            ("MOST_FILES", 1, "more than 1 files"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(inventory_files, name, limit)
                with pytest.raises(RefusedError, match=said):
                    objects.inventory_files(tip, ".")
        blob = work.git("rev-parse", f"{tip}:mesh.toml")
        with pytest.raises(RefusedError, match="more than 10"):
            objects.blob(blob, 10)
        assert objects.blob(blob, 900) == b"x" * 900
        with pytest.raises(RefusedError, match="is a blob, not a commit"):
            objects.commit(blob)
        assert objects.commit(tip).startswith(b"tree ")


# ---------------------------------------------------------------- the directory


def test_a_damaged_repository_is_made_anew(work: Workshop, hub: str, node: Repository) -> None:
    tip = pull(node, hub)
    assert not node.ensure()
    (node.path / "HEAD").unlink()
    assert node.ensure() and not node.has(tip)
    assert pull(node, hub) == tip
    for path in (node.path / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"")
    node.close()
    with pytest.raises(WgmeshError):
        node.commit(tip)
    assert node.ensure()
    assert pull(node, hub) == tip


@pytest.mark.parametrize(
    "place",
    [
        *(f"refs/wgmesh/{name}.lock" for name in ("trusted", "anchor", "fetched", "fetched-2")),
        *(f"{name}.lock" for name in ("packed-refs", "HEAD", "config")),
    ],
)
def test_a_lock_that_a_killed_git_left_is_in_nobodys_way(
    work: Workshop, hub: str, node: Repository, place: str
) -> None:
    """Nothing new is fetched, so no fetch clears it away; trust moves on all the same."""
    first = pull(node, hub)
    second = work.commit("More", {"mesh.toml": "two"})
    work.git("push", "--quiet")
    assert pull(node, hub) == second
    node.hold([second, first])
    run(["git", "--git-dir", str(node.path), "pack-refs", "--all"], work.path)
    lock = node.path / place
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(b"")
    node.keep(second)
    assert node.kept() == second
    lock.write_bytes(b"")
    node.keep(first, anchor=True)
    lock.write_bytes(b"")
    node.hold([second])
    assert node.fetched() == (second,)
    assert not lock.exists()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Repository(tmp_path / "file" / "repository.git") as node:
        with pytest.raises(WgmeshError, match="cannot make"):
            node.ensure()
        with pytest.raises(WgmeshError):
            node.has("12" * 20)


def test_no_child_outlives_its_repository(work: Workshop, hub: str, node: Repository) -> None:
    def children() -> list[bytes]:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it ended meanwhile
                lines.append(path.read_bytes())
        return [line for line in lines if b"cat-file" in line and str(node.path).encode() in line]

    tip = pull(node, hub)
    assert node.commit(tip) and len(children()) == 1
    node.close()
    assert not children()
    assert node.commit(tip) and len(children()) == 1
    node.close()
    assert not children()
