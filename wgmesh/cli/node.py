"""The commands of a node: to join and leave a mesh, to follow it, and to say how that goes."""

import json
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from wgmesh.cli.command import Command, nothing
from wgmesh.cli.output import say


def _declare_join(parser: ArgumentParser) -> None:
    parser.add_argument("remote", nargs="?", metavar="REMOTE", help="git URL of the inventory")
    parser.add_argument("--node", metavar="NAME", help="default: the short hostname")
    parser.add_argument("--branch", default="main", help="default: main")
    parser.add_argument("--path", default=".", help="directory inside the repository")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--introduction", metavar="COMMIT", help="trust starts at this commit")
    trust.add_argument("--signers", type=Path, metavar="FILE", help="allowed_signers for the tip")
    parser.add_argument("--signer", metavar="SHA256:…", help="who must have signed COMMIT")
    parser.add_argument(
        "--deploy-key", action="store_true", help="make an ssh key for a private repository"
    )
    parser.add_argument("--no-enable", action="store_true", help="leave the timers off")


def _join(arguments: Namespace) -> int:
    from wgmesh.agent import enrol

    joined = enrol.join(
        enrol.JoinRequest(
            remote=arguments.remote,
            node=arguments.node,
            branch=arguments.branch,
            path=arguments.path,
            introduction=arguments.introduction,
            signer=arguments.signer,
            signers=arguments.signers,
            enable=not arguments.no_enable,
            deploy_key=_show_deploy_key if arguments.deploy_key else None,
        )
    )
    print(joined.entry, end="")
    print(
        f"{joined.message}; the lines above belong into nodes/{joined.name}.toml", file=sys.stderr
    )
    return 0


def _show_deploy_key(public: str) -> None:
    """Not on stdout, which has the inventory's entry and nothing else."""
    print(
        f"{public}\nthe line above is this machine's key for the repository: add it there as a"
        " deploy key that may only read",
        file=sys.stderr,
        flush=True,
    )


def _declare_leave(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--restore", action="store_true", help="give the machine back as it was before wgmesh"
    )


def _leave(arguments: Namespace) -> int:
    from wgmesh.agent import leave

    return say(leave.leave(restore=arguments.restore))


def _declare_sync(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--no-fetch", action="store_true", help="work on what was fetched before")
    parser.add_argument("--now", action="store_true", help="do not wait for a rollout's soak")
    parser.add_argument("--retry", action="store_true", help="lift this node's quarantine first")
    parser.add_argument("--fetched", action="store_true", help=SUPPRESS)  # of the unit


def _sync(arguments: Namespace) -> int:
    from wgmesh.agent import sync

    options = sync.Options(
        dry_run=arguments.dry_run,
        fetch=not arguments.no_fetch,
        retry=arguments.retry,
        now=arguments.now,
        fetched=arguments.fetched,
    )
    return say(sync.sync(options))


def _fetch(_: Namespace) -> int:
    from wgmesh.agent import fetcher

    print(fetcher.fetch())
    return 0


def _notify(_: Namespace) -> int:
    from wgmesh.agent import messenger

    messenger.become()


def _look_again(_: Namespace) -> int:
    from wgmesh.agent import second

    return say(second.look_again())


def _declare_status(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="again every two seconds")


def _status(arguments: Namespace) -> int:
    from wgmesh.agent import look, status
    from wgmesh.cli import report

    while True:
        shown = look.report()
        text = json.dumps(shown, indent=2) + "\n" if arguments.json else report.status_text(shown)
        if not arguments.watch:
            sys.stdout.write(text)
            break
        sys.stdout.write("\033[H\033[2J" + text if sys.stdout.isatty() else text + "\n")
        sys.stdout.flush()
        time.sleep(2)
    if shown["state"] == "not-joined":
        return 8
    return 7 if shown["state"] in status.ALARMS else 0


COMMANDS = (
    Command(
        "join",
        "enrol this machine in a mesh",
        "wgmesh join https://git.example.com/mesh.git --introduction 4f1c…",
        _declare_join,
        _join,
    ),
    Command("leave", "un-enrol this machine", "wgmesh leave --restore", _declare_leave, _leave),
    Command(
        "sync",
        "one turn of the loop: fetch, verify, plan, apply, prove, confirm or roll back",
        "wgmesh sync --dry-run",
        _declare_sync,
        _sync,
    ),
    Command(
        "fetch",
        "ask the remote and hand over what is new, as the user wgmesh",
        "wgmesh fetch",
        nothing,
        _fetch,
        hidden=True,
    ),
    Command(
        "notify",
        "become the notify command, told the event that waits: what wgmesh-notify.service does",
        "wgmesh notify",
        nothing,
        _notify,
        hidden=True,
    ),
    Command(
        "look-again",
        "take a confirmed change back when a tunnel did not outlive its session",
        "wgmesh look-again",
        nothing,
        _look_again,
        hidden=True,
    ),
    Command(
        "status",
        "what runs, who signed it, how each peer does",
        "wgmesh status --json",
        _declare_status,
        _status,
    ),
)
