"""How values are written for programs: times and commits, as the JSON of every command has them."""

from datetime import UTC, datetime
from typing import Any

from wgmesh.model.commit import VerifiedCommit

Report = dict[str, Any]


def timestamp(seconds: int) -> str | None:
    """Return `seconds` since the epoch as RFC 3339 in UTC; None for 0, which is never."""
    if seconds == 0:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit_table(commit: VerifiedCommit | None) -> Report | None:
    """Return a commit as the contract shows it."""
    if commit is None:
        return None
    return {
        "id": commit.id,
        "signer": commit.signer,
        "fingerprint": commit.fingerprint,
        "subject": commit.subject,
        "time": timestamp(commit.time),
    }
