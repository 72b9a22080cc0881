"""What an operator does on a node: go back, hold, look back, change the key, put things right."""

import json
import sys
from argparse import ArgumentParser, Namespace

from wgmesh.cli import exits, report
from wgmesh.cli.command import Command, nothing
from wgmesh.cli.output import say


def _declare_rollback(parser: ArgumentParser) -> None:
    parser.add_argument("generation", nargs="?", type=int, metavar="GENERATION")
    parser.add_argument("--no-hold", action="store_true", help="go on applying new commits")


def _rollback(arguments: Namespace) -> int:
    from wgmesh.agent import manual

    return say(manual.rollback(arguments.generation, hold=not arguments.no_hold))


def _declare_hold(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="by hand", metavar="TEXT")


def _hold(arguments: Namespace) -> int:
    from wgmesh.agent import manual

    reason = "".join(c for c in arguments.reason if c.isprintable())[:200]
    return say(manual.hold(reason))


def _resume(_: Namespace) -> int:
    from wgmesh.agent import manual

    return say(manual.resume())


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

    return say(manual.reconcile())


def _declare_recover(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="watch over a running transaction first"
    )


def _recover(arguments: Namespace) -> int:
    from wgmesh.agent import manual, node

    result = manual.recover(wait=arguments.wait)
    if result.outcome == "in-sync":
        node.load_any()  # raises NotJoinedError: nothing was left behind either
    return say(result)


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
