"""`wgmesh trust`: what this node trusts and why, and what its admin decides of that."""

from argparse import ArgumentParser, Namespace

from wgmesh.cli.command import Command


def _declare(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    revoke = actions.add_parser(
        "revoke", help="have a key count for nothing on this node", allow_abbrev=False
    )
    revoke.add_argument("key", metavar="FINGERPRINT", help="SHA256:…, or that of an OpenPGP key")
    revoke.set_defaults(act=_revoke)
    reanchor = actions.add_parser(
        "reanchor", help="let trust start at another commit", allow_abbrev=False
    )
    reanchor.add_argument("commit", metavar="COMMIT", help="the full id of one that was fetched")
    reanchor.add_argument("--signer", metavar="SHA256:…", help="who must have signed it")
    reanchor.set_defaults(act=_reanchor)


def _run(arguments: Namespace) -> int:
    code: int = arguments.act(arguments)
    return code


def _revoke(arguments: Namespace) -> int:
    from wgmesh.agent import anchor

    print(anchor.revoke(arguments.key))
    return 0


def _reanchor(arguments: Namespace) -> int:
    from wgmesh.agent import anchor

    print(anchor.reanchor(arguments.commit, arguments.signer))
    return 0


COMMANDS = (
    Command(
        "trust",
        "who may change the mesh, and what became of each commit",
        "wgmesh trust show",
        _declare,
        _run,
    ),
)
