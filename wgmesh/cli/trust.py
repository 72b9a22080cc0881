"""`wgmesh trust`: what this node trusts and why, and what its admin decides of that."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wgmesh.cli.command import Command, common
from wgmesh.cli.output import painter
from wgmesh.cli.report import table
from wgmesh.errors import RefusedError

_COLOUR = {"refused": "red", "accepted": "green", "unsigned": "yellow", "signed": "green"}


def _declare(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(
        name: str, summary: str, act: Callable[[Namespace], int], example: str = ""
    ) -> ArgumentParser:
        made = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example: wgmesh trust {name}{example}",
            parents=[common()],
            allow_abbrev=False,
        )
        made.set_defaults(act=act)
        return made

    show = action("show", "the anchor, who may sign, the line to join with", _show)
    show.add_argument("--json", action="store_true", help="for programs")
    log = action("log", "a verdict per commit, the newest first", _log, " -n 5")
    log.add_argument("-n", dest="limit", type=_count, default=20, metavar="N", help="default: 20")
    log.add_argument("--json", action="store_true", help="for programs")
    verify = action("verify", "what would happen if a commit were the tip", _verify, " main")
    verify.add_argument("rev", metavar="REV", help="a commit that was fetched, or the branch")
    verify.add_argument(
        "--base", metavar="REV", help="here, in a clone: by what a node says that runs this"
    )
    verify.add_argument("--json", action="store_true", help="for programs")
    branch = action(
        "branch", "in a clone: who signed each commit of a branch", _branch, " HEAD --base main"
    )
    branch.add_argument("rev", metavar="REV", help="the tip of the branch")
    branch.add_argument("--base", metavar="REV", required=True, help="what it shall land on")
    branch.add_argument("--json", action="store_true", help="for programs")
    revoke = action("revoke", "have a key count for nothing on this node", _revoke, " SHA256:…")
    revoke.add_argument("key", metavar="FINGERPRINT", help="SHA256:…, or that of an OpenPGP key")
    reanchor = action(
        "reanchor", "let trust start at another commit", _reanchor, " COMMIT --signer SHA256:…"
    )
    reanchor.add_argument("commit", metavar="COMMIT", help="the full id of one that was fetched")
    reanchor.add_argument("--signer", metavar="FINGERPRINT", help="who must have signed it")


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise ArgumentTypeError(f"{text!r} is no number of commits")
    return int(text)


def _run(arguments: Namespace) -> int:
    code: int = arguments.act(arguments)
    return code


def _show(arguments: Namespace) -> int:
    from wgmesh.agent import trust

    shown = trust.show()
    sys.stdout.write(_json(shown) if arguments.json else show_text(shown))
    return 0


def _log(arguments: Namespace) -> int:
    from wgmesh.agent import verdicts

    rows = verdicts.log(arguments.limit)
    sys.stdout.write(_json(rows) if arguments.json else log_text(rows))
    return 0


def _verify(arguments: Namespace) -> int:
    if arguments.base is not None:
        from wgmesh.agent import clone

        found = clone.verify(arguments.rev, arguments.base)
    else:
        from wgmesh.agent import verdicts

        found = verdicts.verify(arguments.rev)
    if arguments.json:
        sys.stdout.write(_json(found))
        return RefusedError.exit_code if found["verdict"] == "refused" else 0
    if found["verdict"] == "refused":
        raise RefusedError(found["problem"], found["hint"], found["culprit"])
    trusted = found["commit"] == found["trusted"]
    print(
        f'commit {found["commit"][:12]} ("{found["subject"]}" by {found["author"]})'
        f" {'is trusted already' if trusted else 'would be accepted'}:"
        f" {found['signer']} signed it ({found['fingerprint']})"
    )
    return 0


def _branch(arguments: Namespace) -> int:
    from wgmesh.agent import clone

    found = clone.branch(arguments.rev, arguments.base)
    wrong = bool(found["unsigned"]) and found["needed"]
    sys.stdout.write(_json(found) if arguments.json else branch_text(found))
    return RefusedError.exit_code if wrong else 0


def _revoke(arguments: Namespace) -> int:
    from wgmesh.agent import anchor

    print(anchor.revoke(arguments.key))
    return 0


def _reanchor(arguments: Namespace) -> int:
    from wgmesh.agent import anchor

    print(anchor.reanchor(arguments.commit, arguments.signer))
    return 0


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def show_text(shown: Mapping[str, Any]) -> str:
    """Return the report of `wgmesh trust show` as text."""
    anchor, trusted, rules = shown["anchor"], shown["trusted"], shown["rules"]
    rows = [("anchor", f"{anchor['commit']} signed by {anchor['fingerprint']}")]
    tip = "none"
    if trusted is not None:
        tip = f"{trusted['id']} signed by {trusted['signer']}: {trusted['subject']}"
    rows.append(("trusted", tip))
    for number, remote in enumerate(shown["remotes"]):
        rows.append(("remotes" if not number else "", _remote(remote)))
    for number, key in enumerate(shown["revoked"]):
        rows.append(("revoked" if not number else "", key))
    if rules is not None:
        said = f"approvals {rules['approvals']}, side commits {rules['side_commits']}"
        rows.append(("rules", f"{said}, mainline {rules['mainline']}"))
    rows += [("warning", warning) for warning in shown["warnings"]]
    if shown["problem"] is not None:
        rows.append(("problem", shown["problem"]))
    text = table(rows)
    if shown["signers"] is not None:
        head = ("SIGNER", "ROLE", "STATE", "VALID", "KEY")
        text += "\n" + table([head, *map(_signer, shown["signers"])])
    return text + f"\njoin with:\n  {shown['join']}\n"


def _remote(remote: Mapping[str, Any]) -> str:
    text = f"{remote['remote']}: {remote['standing']}"
    if remote["commit"] is not None:
        text += f", at {remote['commit'][:12]}"
    if remote["standing"] in ("behind", "silent", "diverged"):
        text += f", since {remote['since']}"
    return text + (f" ({remote['reason']})" if remote["reason"] else "")


def _signer(signer: Mapping[str, Any]) -> tuple[str, ...]:
    after, before = signer["valid_after"], signer["valid_before"]
    valid = " ".join(
        part for part in (after and f"from {after}", before and f"until {before}") if part
    )
    names = ", ".join(signer["names"])
    return names, signer["role"], signer["state"], valid or "-", signer["fingerprint"]


def log_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the report of `wgmesh trust log` as text; what a merge brought is indented."""
    paint = painter(sys.stdout)
    widest = max((len(row["signer"] or "") for row in rows), default=0)
    lines = []
    for row in rows:
        indent = "  " if row["kind"] == "side" else ""
        mark = "*" if row["trusted"] else " "
        verdict = paint(row["verdict"].ljust(11), _COLOUR.get(row["verdict"], "bold"))
        signer = (row["signer"] or "-").ljust(widest)
        subject = row["subject"] if row["subject"] is not None else "(not readable)"
        line = f"{mark} {indent}{row['commit'][:12]}  {verdict}  {row['kind'].ljust(11)}"
        lines.append(f"{line}  {signer}  {subject}".rstrip() + "\n")
        if row["problem"] is not None:
            lines.append(f"    {indent}{_rule(row)}\n")
    return "".join(lines)


def branch_text(found: Mapping[str, Any]) -> str:
    """Return the report of `wgmesh trust branch` as text."""
    rows = found["commits"]
    widest = max((len(row["signer"] or "-") for row in rows), default=0)
    lines = []
    for row in rows:
        verdict = painter(sys.stdout)(row["verdict"].ljust(8), _COLOUR[row["verdict"]])
        signer = (row["signer"] or "-").ljust(widest)
        lines.append(f"{row['commit'][:12]}  {verdict}  {signer}  {row['subject']}".rstrip())
        if row["problem"] is not None:
            lines.append(f"    {row['problem']}")
    count, base = found["unsigned"], found["base"][:12]
    if not count:
        said = f"each commit is signed by somebody whom {base} authorises"
    elif found["needed"]:
        said = f"{count} of {len(rows)} are not signed, which the rules of {base} want"
    else:
        said = f"{count} of {len(rows)} are not signed: merge by hand, git merge --no-ff -S"
    return "".join(f"{line}\n" for line in [*lines, said])


def _rule(row: Mapping[str, Any]) -> str:
    """Return the problem of a commit without its name, which the line above has."""
    short = f"commit {row['commit'][:12]}"
    long = f'{short} ("{row["subject"]}" by {row["author"]})'
    problem: str = row["problem"]
    return problem.removeprefix(f"{long} is refused: ").removeprefix(f"{short} is refused: ")


COMMANDS = (
    Command(
        "trust",
        "who may change the mesh, and what became of each commit",
        "wgmesh trust show",
        _declare,
        _run,
    ),
)
