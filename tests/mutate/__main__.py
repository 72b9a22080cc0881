"""`python -m tests.mutate [FILE…]` says which changes of wgmesh/trust/ no test notices.

All tests of wgmesh/trust/ run once as they are. Then each mutant gets a fork of this process, in
which the tests that reach the changed line run until one fails. What survives is printed, unless
survivors.md has it with the reason why it may.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutate.changes import Mutant, mutants, unchanged
from tests.mutate.cover import TRUST, Cover
from tests.mutate.trials import Judge, Order, judged, memory

ROOT = Path(__file__).parents[2]
LISTED = Path(__file__).with_name("survivors.md")
CHAIN = (
    "trust_signature",
    "trust_rules",
    "trust_chain",
    "trust_digging",
    "trust_handover",
    "trust_dates",
    "trust_expiry",
    "trust_repair",
    "trust_accepted",
    "trust_refused",
    "trust_gpg",
)
TESTS = {
    "sshsig": ("trust_sshsig", "trust_differential"),
    "sshkey": ("trust_sshsig", "trust_signers", "trust_differential"),
    "signers": ("trust_signers",),
    "commit": ("trust_commit",),
    "signature": CHAIN,
    "chain": CHAIN,
    "verdict": CHAIN,
    "side": CHAIN,
    "step": CHAIN,
    "forge": CHAIN,
    "policy": ("trust_policy", "trust_gpg"),
    "openpgp": ("trust_openpgp", "gpgv"),
    "packets": ("trust_openpgp", "gpgv"),
    "authority": CHAIN,
    "objects": ("trust_commit",),
    "line": CHAIN,
    "walk": CHAIN,
    "refusal": CHAIN,
    "repair": CHAIN,
    "above": CHAIN,
    "agreement": ("trust_agreement",),
    "branch": ("trust_branch", "trust_gpg"),
    "fingerprint": ("trust_fingerprint",),
}
"""The tests that are there to notice changes of a module; those that decide most come first."""

_ENTRY = re.compile(r"- `(\S+)` (\S+): `(.*)` → `(.*)`(?:: .+)?")

Entry = tuple[str, str, str, str]
"""What may survive: file, place, line before and after; `*` stands for anything."""


def listed() -> list[Entry]:
    """Return what may survive."""
    if not LISTED.is_file():
        return []
    found = [_ENTRY.fullmatch(line) for line in LISTED.read_text().splitlines()]
    return [(match[1], match[2], match[3], match[4]) for match in found if match]


def fits(mutant: Mutant, entry: Entry) -> bool:
    """Return whether an entry of the list is about a mutant."""
    parts = (mutant.file, mutant.place, mutant.before, mutant.after)
    return all(map(_is_like, parts, entry))


def _is_like(part: str, pattern: str) -> bool:
    """Return whether a part of a mutant is what an entry says; only `*` has a meaning there."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), part) is not None


def main() -> int:
    """Run over the files that are named, or all of wgmesh/trust/.

    Returns 1 when a mutant survives that is not listed, or one is listed that is none.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="as sshkey.py; all when left out")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--most", type=int, default=1 << 20, help="tests for one mutant, at most")
    parser.add_argument("--tests", help="as trust_commit,gpgv; those that are there for the files")
    parser.add_argument("--only", type=Path, help="a file with the mutants to try, as printed")
    parser.add_argument("--log", type=Path, help="write down what noticed each mutant")
    parser.add_argument("--list", action="store_true", help="only say which mutants there are")
    arguments = parser.parse_args()
    every_file = (path.name for path in TRUST.glob("*.py") if path.name != "__init__.py")
    names = arguments.files or sorted(every_file, key=lambda name: [*TESTS].index(name[:-3]))
    every = [mutant for name in names for mutant in mutants(TRUST / name)]
    entries = [entry for entry in listed() if entry[0] in names]
    stale = [entry for entry in entries if not any(fits(mutant, entry) for mutant in every)]
    for entry in stale:
        print(f"listed, but no mutant: {entry}", file=sys.stderr)
    found = [mutant for mutant in every if not any(fits(mutant, entry) for entry in entries)]
    if arguments.only:
        wanted = arguments.only.read_text()
        found = [mutant for mutant in found if f"{mutant.shown}\n" in wanted]
    found.sort(key=lambda mutant: mutant.crude)
    if arguments.list:
        for mutant in found:
            print(mutant.shown)
        return 0
    os.chdir(ROOT)
    os.environ["WGMESH_MUTANT"] = "1"  # fewer examples, see tests/unit/conftest.py
    began = time.monotonic()

    def then(cover: Cover, failed: list[str]) -> int:
        if failed:
            print(f"fail with nothing changed: {' '.join(failed)}", file=sys.stderr)
            return 2
        print(f"{len(cover.tests)} tests, {time.monotonic() - began:.0f} s", file=sys.stderr)
        return report(found, cover, arguments)

    with tempfile.TemporaryDirectory(prefix="mutants-", dir=memory()) as directory:
        judge = Judge(then)
        tests = {test for name in names for test in TESTS[name.removesuffix(".py")]}
        if arguments.tests:
            tests = set(arguments.tests.split(","))
        files = [f"tests/unit/test_{test}.py" for test in sorted(tests)]
        pytest.main(
            ["-q", "-s", "-p", "no:cacheprovider", f"--basetemp={directory}/once", *files],
            plugins=[judge],
        )
    listed_ones = len(every) - len(found)
    seconds = time.monotonic() - began
    print(
        f"{len(every)} mutants, {listed_ones} listed or left out, {seconds:.0f} s,"
        f" {arguments.workers} at a time",
        file=sys.stderr,
    )
    return judge.code or (1 if stale else 0)


def is_meant(test: str, file: str) -> bool:
    """Return whether a file of tests is there for a file of wgmesh/trust/."""
    return test.removeprefix("test_").removesuffix(".py") in TESTS[file.removesuffix(".py")]


def report(found: Sequence[Mutant], cover: Cover, arguments: argparse.Namespace) -> int:
    """Print what survives; return 1 when something does, 2 when unchanged files are noticed."""
    alive = done = 0
    same = [] if arguments.most < 1 << 20 else [unchanged(TRUST / found[0].file)] if found else []
    log = arguments.log.open("a") if arguments.log else None
    order = Order(cover.tests, lambda test, file: bool(arguments.tests) or is_meant(test, file))
    for verdict in judged([*same, *found], cover, order, arguments.workers, arguments.most):
        mutant = verdict.mutant
        if mutant in same:
            if not verdict.survives:
                print(f"{verdict.by} fails in a fork with nothing changed", file=sys.stderr)
                return 2
            continue
        done += 1
        if log is not None:
            print(f"{mutant.shown}\t{verdict.by or '-'}\t{verdict.tests}", file=log, flush=True)
        if verdict.survives:
            alive += 1
            print(mutant.shown, flush=True)
        if done % 100 == 0:
            print(f"{done} of {len(found)}, {alive} survive", file=sys.stderr, flush=True)
    print(f"{done} tried, {alive} survive unlisted", file=sys.stderr)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
