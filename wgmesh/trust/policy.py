"""Who may do what: `trust.toml`, and the policy that it and the keys of a commit come to."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import field
from enum import Enum
from typing import Any, TypeVar

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust.openpgp import Keyring
from wgmesh.trust.signers import Signer, Signers

FILE_NAME = "trust.toml"
LARGEST_BYTES = 64 << 10
MOST_APPROVALS = 100

KEYS = ("approvals", "side_commits", "mainline", "roles")
ROLES = ("admin", "merge")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")


class SideCommits(Enum):
    """What commits on merged branches need: nothing, or a signer of their own."""

    VOUCHED = "vouched"
    SIGNED = "signed"


class Mainline(Enum):
    """Which steps the branch may be made of: any, or merges only."""

    ANY = "any"
    MERGE = "merge"


class Role(Enum):
    """What a key is for; a merge key belongs to a forge and is never a person."""

    ADMIN = "admin"
    EDITOR = "editor"
    MERGE = "merge"


@frozen
class Rules:
    """What `trust.toml` says; the defaults are those of a repository without one.

    `admin` and `merge` have principals of `allowed_signers` and OpenPGP fingerprints; `admin` None
    is everyone.
    """

    approvals: int = 1
    side_commits: SideCommits = SideCommits.VOUCHED
    mainline: Mainline = Mainline.ANY
    admin: frozenset[str] | None = None
    merge: frozenset[str] = frozenset()


@frozen
class Policy:
    """The authority of a commit: its keys, and what they may do. Made by `make`.

    A key is known by its names: the principals of its line, or an OpenPGP fingerprint.
    """

    signers: Signers
    keyring: Keyring
    rules: Rules
    people: Mapping[str, str] = field(default_factory=dict)  # name -> who it is

    def role(self, names: Collection[str]) -> Role:
        """Return what the key with these names is for."""
        if self.rules.merge.intersection(names):
            return Role.MERGE
        everyone = self.rules.admin is None
        admin = everyone or bool(self.rules.admin and self.rules.admin.intersection(names))
        return Role.ADMIN if admin else Role.EDITOR

    def usable(
        self, role: Role | None = None, *, revoked: Collection[str] = (), now: float | None = None
    ) -> frozenset[str]:
        """Return the people who can sign, at `now` or (None) at some time; `role`: those only.

        Whether an OpenPGP certificate has expired shows when its signature is checked.
        """
        found = set()
        for signer in self.signers.values():
            if _usable(signer, revoked, now) and self._counts(signer.principals, role):
                found.add(self.people[signer.name])
        for fingerprint in self.keyring.certificates:
            gone = fingerprint in revoked or fingerprint in self.keyring.revoked
            if not gone and self._counts((fingerprint,), role):
                found.add(self.people[fingerprint])
        return frozenset(found)

    def has(self, fingerprint: str) -> bool:
        """Return whether a key is one of the signers', whatever it may do."""
        keys = {signer.key.fingerprint for signer in self.signers.values()}
        return fingerprint in keys or fingerprint in self.keyring.certificates

    def _counts(self, names: Collection[str], role: Role | None) -> bool:
        has = self.role(names)
        return has is not Role.MERGE if role is None else has is role

    def warnings(
        self, *, revoked: Collection[str] = (), now: float | None = None
    ) -> tuple[str, ...]:
        """Return what is allowed and yet a risk, one sentence each."""
        found = []
        admins = sorted(self.usable(Role.ADMIN, revoked=revoked, now=now))
        if len(admins) < 2:
            found.append(
                f"{admins[0]} alone may change who signs: when that key is lost, every node has to"
                " be re-anchored by hand"
                if admins
                else "nobody is left who may change who signs: re-anchor this node (wgmesh trust)"
            )
        if self.rules.approvals > 1 and self.signers and self.keyring.certificates:
            found.append(
                "an SSH and an OpenPGP key count as two people: with approvals, let nobody have"
                " both"
            )
        return tuple(found)


def make(signers: Signers, keyring: Keyring, rules: Rules) -> Policy:
    """Return the policy of these keys under these rules.

    Raises RefusedError for roles that name nobody, and for a key with the role merge and another.
    """
    names = [signer.principals for signer in signers.values()]
    names += [(fingerprint,) for fingerprint in keyring.certificates]
    known = {name for each in names for name in each}
    for role, members in (("admin", rules.admin or ()), ("merge", rules.merge)):
        for name in sorted(members):
            if name not in known:
                raise RefusedError(
                    f"{FILE_NAME}: the role {role} names {name[:80]!r}, whom neither"
                    " allowed_signers nor openpgp/ has",
                    "spell it as there, or leave it out",
                )
    for each in names:
        if rules.merge.intersection(each) and (rules.admin or frozenset()).intersection(each):
            raise RefusedError(
                f"{FILE_NAME}: {each[0][:80]!r} has the roles admin and merge, but a forge's key is"
                " never a person",
                "leave it out of one of them",
            )
    return Policy(signers, keyring, rules, _people(names))


def parse(data: bytes) -> Rules:
    """Return the rules in the `trust.toml` that is `data`.

    Raises RefusedError for what is not TOML, for unknown keys and for values that mean nothing.
    """
    if len(data) > LARGEST_BYTES:
        raise _bad(f"has more than {LARGEST_BYTES} bytes", "shorten it")
    try:
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError):  # not UTF-8, not TOML, endless digits or brackets
        raise _bad("is not TOML", "see: man 5 mesh.toml") from None
    roles = table.get("roles", {})
    if not isinstance(roles, dict):
        raise _bad("has roles that are no table", "write [roles] on a line of its own")
    for found, known in ((table, KEYS), (roles, ROLES)):
        for key in found:
            if key not in known:
                raise _bad(f"has the unknown key {key[:40]!r}", f"known are: {', '.join(known)}")
    approvals = table.get("approvals", 1)
    if type(approvals) is not int or not 1 <= approvals <= MOST_APPROVALS:
        raise _bad("has approvals that are no number of people", "write approvals = 1 or more")
    return Rules(
        approvals=approvals,
        side_commits=_choice(table, "side_commits", SideCommits.VOUCHED),
        mainline=_choice(table, "mainline", Mainline.ANY),
        admin=_members(roles, "admin") if "admin" in roles else None,
        merge=_members(roles, "merge") if "merge" in roles else frozenset(),
    )


Choice = TypeVar("Choice", SideCommits, Mainline)


def _choice(table: Mapping[str, Any], key: str, default: Choice) -> Choice:
    value = table.get(key, default.value)
    for choice in type(default):
        if choice.value == value:
            return choice
    choices = " or ".join(repr(choice.value) for choice in type(default))
    raise _bad(f"has an unknown value of {key}", f"write {choices}")


def _members(roles: Mapping[str, Any], role: str) -> frozenset[str]:
    value = roles[role]
    strings = isinstance(value, list) and all(isinstance(name, str) for name in value)
    if not strings:
        raise _bad(f"has a role {role} that is no list of names", f'write {role} = ["NAME"]')
    if not value:
        raise _bad(f"has a role {role} that names nobody", "name somebody, or leave it out")
    return frozenset(spelled(name) for name in value)


def spelled(text: str) -> str:
    """Return a principal as it is, an OpenPGP fingerprint in its one spelling."""
    packed = text.replace(" ", "").upper()
    return packed if _FINGERPRINT.fullmatch(packed) else text


def _usable(signer: Signer, revoked: Collection[str], now: float | None) -> bool:
    expired = now is not None and signer.valid_before is not None and now > signer.valid_before
    return signer.usable and signer.key.fingerprint not in revoked and not expired


def _people(names: Collection[tuple[str, ...]]) -> Mapping[str, str]:
    """Return who each name is: names on one line, and lines with a name in common, are one."""
    people: dict[str, str] = {}
    for each in names:
        one = people.get(each[0], each[0])
        former = {people[name] for name in each if name in people}
        people |= {name: one for name, who in people.items() if who in former}
        people |= dict.fromkeys(each, one)
    return people


def _bad(what: str, hint: str) -> RefusedError:
    return RefusedError(f"{FILE_NAME} {what}", hint)
