"""Private repositories: by ssh to those with a key, by https to those with a password.

Both serve what `git daemon` serves to everybody. ssh is dropbear's, with keys that may only read;
https is Python's, in front of git's own http-backend, with a certificate by a CA of its own.
"""

import datetime
import ipaddress
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab.forge import Forge, git_environment
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.wait import wait_until

HOST = "git.example.net"
HOME = "/var/lib/git"
READ_ONLY = """\
#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
    "git-upload-pack '/mesh.git'") exec git upload-pack {path} ;;
esac
echo "this key may only read mesh.git" >&2
exit 1
"""


class SshForge:
    """git over ssh on the forge's port 22, as the user git."""

    def __init__(self, forge: Forge) -> None:
        self.url = f"ssh://git@{HOST}/mesh.git"
        self.machine = forge.machine
        self._keys: list[str] = []
        self._server: subprocess.Popen[str] | None = None
        users = self.machine.read("/etc/passwd").rstrip()
        # Of root's number, so that it can read the repository, which lies in a closed directory.
        self.machine.write("/etc/passwd", f"{users}\ngit:x:0:0::{HOME}:/bin/sh\n")
        self.machine.write(f"{HOME}/serve", READ_ONLY.format(path=forge.path()), 0o755)
        self.machine.run(["chmod", "755", HOME])
        self.new_host_key()

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint, as `ssh-keygen -l` has it."""
        shown = self.machine.run(["dropbearkey", "-y", "-f", f"{HOME}/host_key"]).stdout
        public = next(line for line in shown.splitlines() if line.startswith("ssh-ed25519 "))
        return self.machine.run(["ssh-keygen", "-l", "-f", "-"], stdin=public).stdout.split()[1]

    def new_host_key(self) -> None:
        """Serve with another host key from now on."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
        self.machine.run(["rm", "-f", f"{HOME}/host_key"])
        self.machine.run(["dropbearkey", "-t", "ed25519", "-f", f"{HOME}/host_key"])
        self._server = self.machine.popen(
            ["dropbear", "-F", "-E", "-s", "-j", "-k", "-r", f"{HOME}/host_key"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: _listens(self.machine, 22), 10, "the ssh server listens")

    def admit(self, public_key: str) -> None:
        """Let who has this key read the repository, and nothing else."""
        self._keys.append(f'command="{HOME}/serve",no-pty,no-port-forwarding {public_key}\n')
        self.machine.write(f"{HOME}/.ssh/authorized_keys", "".join(self._keys), 0o600)


class HttpsForge:
    """git over https on the forge's port 443, for who has the password."""

    def __init__(self, forge: Forge, directory: Path, user: str, password: str) -> None:
        self.url = f"https://{HOST}/mesh.git"
        self.machine = forge.machine
        self.log = directory / "requests"
        self.ca = make_certificates(directory, HOST)
        self.log.touch()
        argv = [sys.executable, "-m", "tests.lab.https_server", str(forge.directory)]
        argv += [str(directory / "server.pem"), str(self.log), f"{user}:{password}"]
        self._server = self.machine.popen(
            argv, env=git_environment(directory) | {"PYTHONPATH": str(CHECKOUT)}
        )
        wait_until(lambda: _listens(self.machine, 443), 10, "the web server listens")

    def requests(self) -> list[str]:
        """Return what was asked so far: the user (- for nobody) and the path."""
        return self.log.read_text().splitlines()


def name_host(machine: Machine, forge: Forge) -> None:
    """Let a machine know the forge by its name."""
    hosts = machine.read("/etc/hosts").rstrip()
    machine.write("/etc/hosts", f"{hosts}\n{forge.machine.ipv4} {HOST}\n")


def trust_ca(machine: Machine, ca: str) -> None:
    """Let a machine trust a CA: what update-ca-certificates(8) does to the bundle."""
    path = "/etc/ssl/certs/ca-certificates.crt"
    machine.write(path, machine.read(path) + ca)


def make_certificates(directory: Path, host: str) -> str:
    """Make a CA, and server.pem, key and certificate of `host`; return the CA's certificate."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab CA")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)

    def certificate(name: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        names.append(x509.IPAddress(ipaddress.ip_address("198.18.0.1")))
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "server.pem").write_bytes(
        private + certificate(server, key.public_key(), ca=False)
    )
    return certificate(ca_name, ca_key.public_key(), ca=True).decode()


def _listens(machine: Machine, port: int) -> bool:
    return f":{port} " in machine.run(["ss", "-Hltn", f"sport = {port}"]).stdout
