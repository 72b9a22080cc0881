"""gpgv(1), which checks OpenPGP signatures: given one keyring, no home, no configuration."""

from pathlib import Path

from wgmesh import process
from wgmesh.frozen import frozen
from wgmesh.trust import openpgp
from wgmesh.trust.openpgp import Keyring, OpenPgpSignature

_SECONDS = 20
_WEAK = ("MD5", "SHA1", "RIPEMD160")


@frozen
class Gpgv:
    """The openpgp.GpgVerifier that runs the program."""

    def verify(self, keyring: Keyring, armor: bytes, payload: bytes) -> OpenPgpSignature:
        """Return who in `keyring` made the armored signature over `payload`.

        Raises RefusedError when nobody did, WgmeshError when gpgv is missing or does not end.
        """
        import tempfile

        signature = openpgp.parse_signature(armor)
        with tempfile.TemporaryDirectory(prefix="wgmesh-gpgv-") as directory:
            for name, data in (
                ("keyring", keyring.packets),
                ("signature", signature),
                ("payload", payload),
            ):
                (Path(directory) / name).write_bytes(data)
            argv = ["gpgv", "--quiet", "--homedir", directory, "--status-fd", "1"]
            argv += [f"--weak-digest={name}" for name in _WEAK]
            argv += ["--keyring", f"{directory}/keyring", "--"]
            argv += [f"{directory}/signature", f"{directory}/payload"]
            done = process.run(argv, timeout_seconds=_SECONDS, check=False)
        return openpgp.judge(keyring, done.stdout)
