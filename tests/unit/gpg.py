"""Real OpenPGP keys for the tests of trust, in a home of their own."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .signing import run

MADE = "20200101T000000"
"""When keys are made, unless a test says otherwise; they sign a month later."""

SIGNED = "20200201T000000"


class GpgHome:
    """gpg's home directory, and the agent that gpg starts: both are gone after the `with`."""

    def __enter__(self) -> Self:
        # The agent's socket lies in it, whose path has at most 107 bytes.
        self.path = Path(tempfile.mkdtemp(prefix="gpg-"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run(["gpgconf", "--homedir", str(self.path), "--kill", "all"], self.path)
        shutil.rmtree(self.path, ignore_errors=True)  # the agent takes its sockets along

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes git and gpg use this home."""
        return {"GNUPGHOME": str(self.path)}

    def gpg(self, *args: str, stdin: bytes = b"", at: str = "") -> bytes:
        """Run gpg, at a made-up time that stands still if given, and return its output."""
        argv = ["gpg", "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]
        argv += ["--passphrase", "", *(["--faked-system-time", f"{at}!"] if at else []), *args]
        return run(argv, self.path, stdin=stdin, env=self.environment)

    def make(
        self,
        name: str,
        algorithm: str = "ed25519",
        *options: str,
        usage: str = "sign",
        expires: str = "never",
        at: str = MADE,
    ) -> str:
        """Make a key and return its fingerprint."""
        user = f"{name} <{name}@example.com>"
        self.gpg(*options, "--quick-generate-key", user, algorithm, usage, expires, at=at)
        return self.fingerprints(name)[0]

    def add_subkey(
        self, primary: str, algorithm: str = "ed25519", *, usage: str = "sign", expires: str = "0"
    ) -> str:
        """Add a subkey and return its fingerprint."""
        self.gpg("--quick-add-key", primary, algorithm, usage, expires, at=MADE)
        return self.fingerprints(primary)[-1]

    def fingerprints(self, name: str) -> list[str]:
        """Return the fingerprints of a key, then those of its subkeys."""
        lines = self.gpg("--with-colons", "--list-keys", name).decode().splitlines()
        return [line.split(":")[9] for line in lines if line.startswith("fpr:")]

    def revoke(self, fingerprint: str) -> None:
        """Revoke a primary key, by the certificate that gpg made along with it."""
        path = self.path / "openpgp-revocs.d" / f"{fingerprint}.rev"
        self.gpg("--import", stdin=path.read_bytes().replace(b"\n:-----", b"\n-----"))

    def revoke_subkey(self, primary: str, number: int) -> None:
        """Revoke the subkey of that number, counted from 1."""
        answers = f"key {number}\nrevkey\ny\n0\n\ny\nsave\n"
        argv = [
            "--no-batch",
            "--no-tty",
            "--command-fd",
            "0",
            "--status-fd",
            "2",
            "--edit-key",
            primary,
        ]
        self.gpg(*argv, stdin=answers.encode())

    def export(self, fingerprint: str, *options: str) -> bytes:
        """Return the armored certificate of a key."""
        return self.gpg(*options, "--armor", "--export", fingerprint)

    def files(self, *fingerprints: str) -> dict[str, bytes]:
        """Return the files of openpgp/ for these keys."""
        return {f"{each}.asc": self.export(each) for each in fingerprints}

    def sign(self, key: str, payload: bytes, *options: str, at: str = SIGNED) -> bytes:
        """Return an armored signature; a fingerprint with `!` chooses a subkey."""
        return self.gpg(
            *options, "-u", key, "--armor", "--detach-sign", "-o", "-", stdin=payload, at=at
        )
