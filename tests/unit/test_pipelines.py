"""The CI files that `init` writes: parsed, and their steps run in a clone as a forge runs them."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.unit.inventory_texts import key
from tests.unit.signing import environment, run

TOP = Path(__file__).parents[2]
FORGES = ("github", "gitlab")


def entry(number: int, extra: str = "") -> str:
    """Return a node's file."""
    return (
        f'address = "10.40.0.{number}/32"\npublic_key = "{key(number)}"\n'
        f'endpoint = "node{number}.example.com"\n{extra}'
    )


class Comments(ThreadingHTTPServer):
    """The part of a forge that has the comments of pull request 7: by HTTP, on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.token = ""
        self.bot = ""
        self.bodies: dict[int, str] = {1: "a comment of somebody's"}
        self.authors: dict[int, str] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


class _Asked(BaseHTTPRequestHandler):
    server: Comments

    def _answer(self) -> None:
        given = self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN")
        self.server.asked.append(f"{self.command} {self.path}")
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        bodies = self.server.bodies
        value: Any = {}
        if given != self.server.token:
            self.send_response(401)
        else:
            self.send_response(200)
            if self.path == "/user":  # GitHub does not tell it to a job
                value = {"username": self.server.bot}
            elif self.command == "GET":
                value = self._page()
            else:
                body = json.loads(data)["body"]
                known = self.path.rpartition("/")[2]
                number = int(known) if known.isdecimal() else len(bodies) + 1
                bodies[number] = body
                self.server.authors.setdefault(number, self.server.bot)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def _page(self) -> list[dict[str, Any]]:
        """Return the comments of a page, as the forge that is asked shows them."""
        asked = parse_qs(urlsplit(self.path).query)
        size, page = int(asked["per_page"][0]), int(asked["page"][0])
        here = f"{self.server.url}/repos/ops/fleet/issues/comments"
        found: list[dict[str, Any]] = []
        for number, text in [*self.server.bodies.items()][(page - 1) * size : page * size]:
            author = self.server.authors.get(number, "somebody")
            one: dict[str, Any] = {"id": number, "body": text}
            if "/repos/" in self.path:
                one |= {"url": f"{here}/{number}", "user": {"login": author}}
            else:
                one |= {"author": {"username": author}}
            found.append(one)
        return found

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def comments() -> Iterator[Comments]:
    """Serve comments as long as the test."""
    with Comments() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Clone:
    """A new inventory with two nodes on main, its CI, and a signed-in author."""

    def __init__(self, directory: Path, forge: str, comments: Comments) -> None:
        self.home = directory
        self.tree = directory / "mesh"
        self.forge = forge
        self.comments = comments
        self.summary = directory / "summary"
        ssh_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example.com"]
        run([*ssh_key, "-f", str(directory / "id")], directory)
        programs = directory / "bin"
        programs.mkdir()
        (programs / "wgmesh").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wgmesh "$@"\n')
        (programs / "wgmesh").chmod(0o755)
        self.env = environment(directory) | {"PYTHONPATH": str(TOP)}
        self.env["PATH"] = f"{programs}:{self.env['PATH']}"
        self.sh(f"wgmesh init {self.tree} --signer {directory}/id.pub", directory)
        self.write(alpha=entry(1), bravo=entry(2))
        self.commit("two nodes")
        self.base = self.git("rev-parse", "HEAD")

    def sh(self, line: str, cwd: Path | None = None) -> str:
        """Run a line of shell to its success."""
        return run(["bash", "-c", line], cwd or self.tree, env=self.env).decode()

    def git(self, *words: str) -> str:
        """Run git in the clone."""
        return run(["git", *words], self.tree, env=self.env).decode().strip()

    def write(self, **nodes: str) -> None:
        """Write the files of nodes."""
        for name, text in nodes.items():
            (self.tree / f"nodes/{name}.toml").write_text(text)

    def commit(self, message: str, *, sign: bool = True) -> str:
        """Commit all that is there, whatever the hook says."""
        self.git("add", "--all", "mesh.toml", "nodes")
        words = ["commit", "-q", "--allow-empty", "--no-verify", "-m", message]
        self.git(*words, *([] if sign else ["--no-gpg-sign"]))
        return self.git("rev-parse", "HEAD")

    def parsed(self) -> dict[str, Any]:
        """Return the CI file as YAML."""
        name = ".github/workflows/wgmesh.yml" if self.forge == "github" else ".gitlab-ci.yml"
        parsed: dict[str, Any] = yaml.safe_load((self.tree / name).read_text())
        return parsed

    def steps(self, event: str) -> list[tuple[str, Mapping[str, str]]]:
        """Return each step that runs at an event, with its environment; no installation."""
        parsed = self.parsed()
        if self.forge == "gitlab":
            jobs = [job for job in parsed.values() if isinstance(job, dict) and "script" in job]
            assert all(job["script"][0].startswith("pip install") for job in jobs)
            return [("\n".join(job["script"][1:]), {}) for job in jobs]
        steps = [step for step in parsed["jobs"]["inventory"]["steps"] if "run" in step]
        assert steps[0]["run"].startswith("pipx install")
        other = "push" if event == "pull_request" else "pull_request"
        return [
            (step["run"], step.get("env", {}))
            for step in steps[1:]
            if f"github.event_name == '{other}'" not in step.get("if", "")
        ]

    def run(self, event: str, tip: str, before: str = "", *, base: bool = True) -> list[int]:
        """Run the steps of an event as the forge does, and return how each ended.

        Without `base` the clone has not what the request is to land on.
        """
        known = {
            "github.api_url": self.comments.url,
            "github.repository": "ops/fleet",
            "github.event.number": "7",
            "github.token": "secret",
            "github.event.pull_request.head.sha": tip,
            "github.event.before": before,
        }
        env = self.env | {"GITHUB_STEP_SUMMARY": str(self.summary)}
        env["GITHUB_BASE_REF"] = "main" if base else "gone"
        if self.forge == "gitlab":
            env |= {"CI_COMMIT_SHA": tip, "CI_COMMIT_BEFORE_SHA": before}
            env |= {"CI_API_V4_URL": self.comments.url, "CI_PROJECT_ID": "5"}
            onto = self.base if base else "1" * 40
            request = {"CI_MERGE_REQUEST_DIFF_BASE_SHA": onto, "CI_MERGE_REQUEST_IID": "7"}
            env |= {"WGMESH_TOKEN": "secret"} | (request if event == "pull_request" else {})
        self.comments.token = "Bearer secret" if self.forge == "github" else "secret"
        bots = {"github": "github-actions[bot]", "gitlab": "project_5_bot_2f1c"}
        self.comments.bot = bots[self.forge]
        self.git("update-ref", "refs/remotes/origin/main", self.base)
        codes = []
        for line, extra in self.steps(event):
            own = {name: filled(text, known) for name, text in extra.items()}
            argv = ["bash", "-e", "-o", "pipefail", "-c", line]
            done = subprocess.run(
                argv, cwd=self.tree, env=env | own, check=False, capture_output=True, text=True
            )
            assert "Traceback" not in done.stderr, done.stderr
            codes.append(done.returncode)
            if done.returncode == 3 and "plan" not in line:  # validate: the steps after it depend
                break
        return codes


def filled(text: str, known: Mapping[str, str]) -> str:
    """Return a value with GitHub's expressions filled in; each must be known."""
    return re.sub(r"\$\{\{\s*(\S+)\s*\}\}", lambda found: known[found[1]], text)


@pytest.mark.parametrize("forge", FORGES)
def test_a_pull_request_is_judged(tmp_path: Path, forge: str, comments: Comments) -> None:
    clone = Clone(tmp_path, forge, comments)
    assert set(comments.bodies) == {1}
    plan = 1 if forge == "github" else 0  # which step that is

    clone.write(bravo=entry(2, "mtu = 1\n"))
    codes = clone.run("pull_request", clone.commit("an unknown key"))
    assert codes[0] == 3 and set(comments.bodies) == {1}
    if forge == "gitlab":
        notes = json.loads((clone.tree / "gl-code-quality-report.json").read_text())
        assert notes[0]["location"] == {"path": "nodes/bravo.toml", "lines": {"begin": 4}}
        assert "mtu" in notes[0]["description"] and notes[0]["severity"] == "blocker"

    clone.write(bravo=entry(2).replace(key(2), key(9)))
    codes = clone.run("pull_request", clone.commit("another key"))
    assert codes[plan] == 3, codes
    assert comments.bodies[2].startswith("<!-- wgmesh plan -->\n### Not safe in every order")
    if forge == "github":
        assert "### Not safe in every order" in clone.summary.read_text()

    tip = clone.commit("It is meant\n\nWgmesh-Allow-Break: bravo")
    assert set(clone.run("pull_request", tip)) == {0}
    assert "allowed by `Wgmesh-Allow-Break`" in comments.bodies[2].splitlines()[1]
    assert set(comments.bodies) == {1, 2} and comments.bodies[1] == "a comment of somebody's"


@pytest.mark.parametrize("forge", FORGES)
def test_what_is_no_inventory_is_a_sentence(tmp_path: Path, forge: str, comments: Comments) -> None:
    clone = Clone(tmp_path, forge, comments)
    (clone.tree / "nodes").rename(tmp_path / "nodes")
    (clone.tree / "nodes").write_text("")
    assert clone.run("pull_request", clone.base)[0] == 3
    assert set(comments.bodies) == {1}


@pytest.mark.parametrize("forge", FORGES)
def test_where_there_is_no_plan_the_last_one_stays(
    tmp_path: Path, forge: str, comments: Comments
) -> None:
    clone = Clone(tmp_path, forge, comments)
    clone.write(bravo=entry(2, "intermittent = true\n"))
    tip = clone.commit("a change")
    assert set(clone.run("pull_request", tip)) == {0}
    before = dict(comments.bodies)
    assert before[2].startswith("<!-- wgmesh plan -->\n### ")
    codes = clone.run("pull_request", tip, base=False)
    assert (codes[1:3] if forge == "github" else codes[:1]) == (
        [2, 0] if forge == "github" else [2]
    )
    assert comments.bodies == before


@pytest.mark.parametrize("forge", FORGES)
def test_a_comment_of_somebody_else_is_never_replaced(
    tmp_path: Path, forge: str, comments: Comments
) -> None:
    """Anybody may write one that looks like it, and it may be far down a long page."""
    clone = Clone(tmp_path, forge, comments)
    of_others = {number: f"<!-- wgmesh plan -->\nmine {number}" for number in range(1, 141)}
    comments.bodies |= of_others
    clone.write(bravo=entry(2, "intermittent = true\n"))
    for message in ("a change", "and another one"):
        assert set(clone.run("pull_request", clone.commit(message))) == {0}
        assert {n: comments.bodies[n] for n in of_others} == of_others
        assert set(comments.bodies) == {*of_others, 141}
    assert comments.bodies[141].startswith("<!-- wgmesh plan -->\n### Safe in every order")
    assert sum(asked.startswith("POST") for asked in comments.asked) == 1


def test_an_annotation_has_its_line(tmp_path: Path, comments: Comments) -> None:
    clone = Clone(tmp_path, "github", comments)
    clone.write(bravo=entry(2, "mtu = 1\n"))
    line = clone.steps("pull_request")[0][0]
    done = subprocess.run(
        ["bash", "-e", "-c", line], cwd=clone.tree, env=clone.env, capture_output=True, check=False
    )
    assert done.returncode == 3
    assert done.stdout.decode().startswith("::error file=nodes/bravo.toml,line=4")


@pytest.mark.parametrize("forge", FORGES)
def test_who_signed_a_branch(tmp_path: Path, forge: str, comments: Comments) -> None:
    """Nobody need have, unless the rules of the base say so."""
    clone = Clone(tmp_path, forge, comments)
    clone.write(bravo=entry(2, "intermittent = true\n"))
    tip = clone.commit("nobody signs", sign=False)
    assert set(clone.run("pull_request", tip)) == {0}
    said = clone.sh(f"wgmesh trust branch {tip} --base {clone.base}")
    assert "unsigned" in said and "1 of 1 are not signed: merge by hand" in said
    clone.git("checkout", "-q", clone.base)
    (clone.tree / "trust.toml").write_text('side_commits = "signed"\n')
    clone.git("commit", "-q", "-am", "each of them")
    clone.base = clone.git("rev-parse", "HEAD")
    clone.git("checkout", "-q", "-b", "change")
    clone.write(bravo=entry(2, "intermittent = true\n"))
    assert clone.run("pull_request", clone.commit("nobody signs", sign=False))[-1] == 4
    clone.git("commit", "-q", "--amend", "--no-edit", "--no-verify")
    tip = clone.git("rev-parse", "HEAD")
    assert set(clone.run("pull_request", tip)) == {0}
    found = json.loads(clone.sh(f"wgmesh trust branch {tip} --base {clone.base} --json"))
    assert (found["needed"], found["unsigned"]) == (True, 0)
    assert [row["signer"] for row in found["commits"]] == ["ada@example.com"]


@pytest.mark.parametrize("forge", FORGES)
def test_what_nodes_say_of_a_merge(tmp_path: Path, forge: str, comments: Comments) -> None:
    clone = Clone(tmp_path, forge, comments)
    clone.write(bravo=entry(2, "intermittent = true\n"))
    good = clone.commit("a step")
    assert set(clone.run("push", good, clone.base)) == {0}
    assert set(clone.run("push", good, "0" * 40)) == {0}, "a new branch has no before"
    squashed = clone.commit("by a button", sign=False)
    codes = clone.run("push", squashed, good)
    assert codes[-1] == 4 and set(codes[:-1]) == {0}
    env = clone.env
    argv = ["wgmesh", "trust", "verify", squashed, "--base", good]
    done = subprocess.run(
        argv, cwd=clone.tree, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4 and "is refused" in done.stderr and "git merge" in done.stderr


def test_the_hook_of_the_first_clone(tmp_path: Path, comments: Comments) -> None:
    """What is staged counts, not what lies around."""
    clone = Clone(tmp_path, "github", comments)
    hook = clone.tree / ".git/hooks/pre-commit"
    assert os.access(hook, os.X_OK)
    subprocess.run(["sh", "-n", hook], check=True)
    commit = ["git", "commit", "-q", "-m", "by hand"]

    def attempt() -> tuple[int, str]:
        done = subprocess.run(
            commit, cwd=clone.tree, env=clone.env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    clone.write(bravo=entry(2, "mtu = 1\n"))
    clone.git("add", "nodes")
    code, said = attempt()
    assert code != 0 and "nodes/bravo.toml:4" in said
    clone.write(bravo=entry(2, "intermittent = true\n"))
    assert attempt()[0] != 0, "what is staged is still wrong"
    clone.git("add", "nodes")
    clone.write(bravo="nonsense")
    assert attempt()[0] == 0
    parsed = yaml.safe_load((clone.tree / ".pre-commit-config.yaml").read_text())
    (hook_entry,) = parsed["repos"][0]["hooks"]
    done = subprocess.run(
        ["sh", "-c", hook_entry["entry"]], cwd=clone.tree, env=clone.env, check=False
    )
    assert done.returncode == 3
    chosen = re.compile(hook_entry["files"])
    assert all(map(chosen.search, ("mesh.toml", "mesh.conf", "nodes/alpha.toml")))
    assert not any(map(chosen.search, ("README.md", "docs/mesh.toml", "nodes.toml")))


def test_nothing_of_a_pull_request_is_a_word_of_a_shell(tmp_path: Path, comments: Comments) -> None:
    """GitHub fills expressions in before a shell sees them: none stands in what is run."""
    for forge in FORGES:
        directory = tmp_path / forge
        directory.mkdir()
        clone = Clone(directory, forge, comments)
        for event in ("pull_request", "push"):
            for line, _ in clone.steps(event):
                assert "${{" not in line
                for name in re.findall(r"\$([A-Z_]+)\b", line):
                    for place in re.finditer(rf"\${name}\b", line):
                        before = line[: place.start()]
                        quoted = before.count('"') % 2 == 1 or before.endswith("case ")
                        assert quoted, (name, line)
