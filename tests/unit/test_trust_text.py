"""What `wgmesh trust show` and `trust log` print for people."""

from typing import Any

import pytest

from wgmesh.cli.trust import log_text, show_text

ANCHOR, TIP, BAD = "a" * 40, "b" * 40, "c" * 40
URL = "https://git.example.com/mesh.git"

SHOWN: dict[str, Any] = {
    "anchor": {"commit": ANCHOR, "fingerprint": "SHA256:ada"},
    "trusted": {"id": TIP, "signer": "ada@example.com", "subject": "Add delta"},
    "branch": "main",
    "path": ".",
    "remotes": [
        {"remote": URL, "standing": "newest", "since": "then", "commit": TIP, "reason": None},
        {"remote": "/srv", "standing": "silent", "since": "then", "commit": None, "reason": "no"},
    ],
    "revoked": ["SHA256:eve", "SHA256:mallory"],
    "rules": {"approvals": 2, "side_commits": "signed", "mainline": "merge"},
    "signers": [
        {
            "names": ["ada@example.com", "ada"],
            "role": "admin",
            "kind": "ssh-ed25519",
            "fingerprint": "SHA256:ada",
            "valid_after": "2026-01-01T00:00:00Z",
            "valid_before": "2027-01-01T00:00:00Z",
            "state": "usable",
        },
        {
            "names": ["D" * 40],
            "role": "editor",
            "kind": "openpgp",
            "fingerprint": "D" * 40,
            "valid_after": None,
            "valid_before": None,
            "state": "revoked",
        },
    ],
    "warnings": ["ada@example.com alone may change who signs"],
    "problem": None,
    "join": f"wgmesh join {URL} --introduction {TIP} --signer SHA256:ada",
}


def test_show() -> None:
    text = show_text(SHOWN)
    lines = [line.split() for line in text.splitlines()]
    assert ["anchor", ANCHOR, "signed", "by", "SHA256:ada"] in lines
    assert lines[1][:2] == ["trusted", TIP]
    assert f"{URL}: newest, at {TIP[:12]}\n" in text
    assert "/srv: silent, since then (no)\n" in text
    assert ["revoked", "SHA256:eve"] in lines and ["SHA256:mallory"] in lines
    assert "approvals 2, side commits signed, mainline merge" in text
    valid = ["from", "2026-01-01T00:00:00Z", "until", "2027-01-01T00:00:00Z"]
    assert ["ada@example.com,", "ada", "admin", "usable", *valid, "SHA256:ada"] in lines
    assert ["D" * 40, "editor", "revoked", "-", "D" * 40] in lines
    assert text.endswith(f"join with:\n  {SHOWN['join']}\n")


def test_show_of_what_cannot_be_read() -> None:
    lacking = {"trusted": None, "rules": None, "signers": None, "problem": "it is root's"}
    text = show_text(SHOWN | lacking)
    assert "it is root's" in text and "SIGNER" not in text and "join with" in text


def row(commit: str, verdict: str, **fields: object) -> dict[str, Any]:
    known = {"kind": "step", "signer": None, "author": "eve"}
    more = {"subject": f"subject {commit[0]}", "problem": None, "trusted": False}
    return {"commit": commit, "verdict": verdict, **known, **more, **fields}


def test_log() -> None:
    problem = f'commit {BAD[:12]} ("x is refused: y" by eve) is refused: it is not signed'
    unread = f"commit {'d' * 12} is refused: it is malformed"
    text = log_text(
        [
            row("d" * 40, "refused", subject=None, problem=unread),
            row(BAD, "refused", subject="x is refused: y", problem=problem),
            row(TIP, "accepted", signer="ada@example.com", trusted=True),
            row(ANCHOR, "vouched for", kind="side"),
        ]
    )
    lines = text.splitlines()
    assert lines[0].startswith(f"  {'d' * 12}  refused") and "(not readable)" in lines[0]
    assert lines[1].strip() == "it is malformed"
    assert lines[3].strip() == "it is not signed"
    assert lines[4].startswith(f"* {TIP[:12]}  accepted") and "ada@example.com" in lines[4]
    assert lines[5].startswith(f"    {ANCHOR[:12]}  vouched for  side")
    assert len(lines) == 6 and "\033" not in text


@pytest.mark.parametrize("problem", ["it is unknown what is wrong", ""])
def test_a_problem_that_names_no_commit_is_told_whole(problem: str) -> None:
    lines = log_text([row(BAD, "refused", problem=problem)]).splitlines()
    assert len(lines) == 2 and lines[1].strip() == problem


def test_log_of_nothing() -> None:
    assert log_text([]) == ""
