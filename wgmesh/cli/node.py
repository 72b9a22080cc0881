"""The commands of a node."""

import json
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from wgmesh.cli import exits, report
from wgmesh.cli.command import Command, nothing


def _say(result: object) -> int:
    message = getattr(result, "message", "")
    print(message)
    return 0


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

    return _say(leave.leave(restore=arguments.restore))


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
    return _say(sync.sync(options))


def _fetch(_: Namespace) -> int:
    from wgmesh.agent import fetcher

    print(fetcher.fetch())
    return 0


def _notify(_: Namespace) -> int:
    from wgmesh.agent import messenger

    messenger.become()


def _look_again(_: Namespace) -> int:
    from wgmesh.agent import second

    return _say(second.look_again())


def _declare_status(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="again every two seconds")


def _status(arguments: Namespace) -> int:
    from wgmesh.agent import look, status

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


def _declare_rollback(parser: ArgumentParser) -> None:
    parser.add_argument("generation", nargs="?", type=int, metavar="GENERATION")
    parser.add_argument("--no-hold", action="store_true", help="go on applying new commits")


def _rollback(arguments: Namespace) -> int:
    from wgmesh.agent import manual

    return _say(manual.rollback(arguments.generation, hold=not arguments.no_hold))


def _declare_hold(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="by hand", metavar="TEXT")


def _hold(arguments: Namespace) -> int:
    from wgmesh.agent import manual

    reason = "".join(c for c in arguments.reason if c.isprintable())[:200]
    return _say(manual.hold(reason))


def _resume(_: Namespace) -> int:
    from wgmesh.agent import manual

    return _say(manual.resume())


def _rotate_key(_: Namespace) -> int:
    from wgmesh.agent import walk

    patch, said = walk.walk()
    print(patch, end="")
    print(said, file=sys.stderr)
    return 0


def _declare_history(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _history(arguments: Namespace) -> int:
    from wgmesh.agent import views

    rows = views.history()
    print(json.dumps(rows, indent=2) if arguments.json else report.history_text(rows), end="")
    print() if arguments.json else None
    return 0


def _declare_diff(parser: ArgumentParser) -> None:
    parser.add_argument("first", nargs="?", type=int, metavar="A", help="a generation")
    parser.add_argument("second", nargs="?", type=int, metavar="B", help="default: what runs")


def _diff(arguments: Namespace) -> int:
    from wgmesh.agent import views

    sys.stdout.write(views.differences(arguments.first, arguments.second))
    return 0


def _reconcile(_: Namespace) -> int:
    from wgmesh.agent import manual

    return _say(manual.reconcile())


def _declare_recover(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="watch over a running transaction first"
    )


def _recover(arguments: Namespace) -> int:
    from wgmesh.agent import manual, node

    result = manual.recover(wait=arguments.wait)
    if result.outcome == "in-sync":
        node.load_any()  # raises NotJoinedError: nothing was left behind either
    return _say(result)


def _install_failover(_: Namespace) -> int:
    from wgmesh.agent import timers

    timers.enable_one(timers.FAILOVER)
    print(f"{timers.FAILOVER} runs, now and after each boot")
    return 0


def _declare_install_exit_selector(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        dest="inventory",
        metavar="PATH",
        help="an inventory to look at first: is it valid?",
    )


def _install_exit_selector(arguments: Namespace) -> int:
    from wgmesh.agent import timers

    if arguments.inventory is not None:
        from wgmesh import inventory
        from wgmesh.agent import sources

        inventory.load(sources.load(arguments.inventory).files)
    timers.enable_one(timers.EXITS)
    print(f"{timers.EXITS} runs, now and after each boot")
    return 0


def _uninstall_exit_selector(_: Namespace) -> int:
    from wgmesh.agent import timers

    timers.disable_one(timers.EXITS)
    print(f"{timers.EXITS} is off: the exit in use stays in use, alive or not")
    return 0


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
    Command(
        "rollback",
        "go back to the previous or a given generation, and hold",
        "wgmesh rollback 12",
        _declare_rollback,
        _rollback,
    ),
    Command(
        "hold",
        "stop applying; fetching and verifying go on",
        'wgmesh hold --reason "until the move is over"',
        _declare_hold,
        _hold,
    ),
    Command("resume", "apply again after a hold", "wgmesh resume", nothing, _resume),
    Command(
        "history",
        "the generations of this node",
        "wgmesh history --json",
        _declare_history,
        _history,
    ),
    Command(
        "diff",
        "what differs between generations, or between what runs and the newest commit",
        "wgmesh diff 11 12",
        _declare_diff,
        _diff,
    ),
    Command(
        "rotate-key",
        "change this node's key without a gap: print the next commit to merge",
        "wgmesh rotate-key > rotate.patch",
        nothing,
        _rotate_key,
    ),
    Command(
        "reconcile", "put back what was changed by hand", "wgmesh reconcile", nothing, _reconcile
    ),
    Command(
        "recover",
        "finish or undo a change that was cut short",
        "wgmesh recover",
        _declare_recover,
        _recover,
    ),
    Command(
        "install-failover",
        "enable the timer that moves peers to another endpoint when theirs is dead",
        "wgmesh install-failover",
        nothing,
        _install_failover,
    ),
    Command(
        "install-exit-selector",
        "enable the timer that chooses the exit of this node",
        "wgmesh install-exit-selector",
        _declare_install_exit_selector,
        _install_exit_selector,
    ),
    Command(
        "uninstall-exit-selector",
        "disable the timer that chooses the exit of this node",
        "wgmesh uninstall-exit-selector",
        nothing,
        _uninstall_exit_selector,
    ),
    Command(
        "exit-status",
        "the exits that this node may use, and how they do",
        "wgmesh exit-status",
        nothing,
        exits.run_status,
    ),
)
