"""A git server as people run it: sshd with deploy keys, a web server with passwords and its own CA.

It serves the lab's repository, which it can only read.
"""

from tests.fleet.booted import BootedMachine
from tests.fleet.fleet import Fleet
from tests.lab.wait import wait_until

HOST = "server.example.net"
REPOSITORIES = "/srv/git"
USER, PASSWORD = "fleet", "correct horse:battery@staple"
CA = "/root/ca.crt"
KEYS = "/home/git/.ssh/authorized_keys"
DEPLOY = f'''restrict,command="git-upload-pack '{REPOSITORIES}/mesh.git'"'''
MAKE_CERTIFICATES = f"""
set -e
cd /root
new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
$new -x509 -days 30 -subj "/CN=Fleet CA" -keyout ca.key -out {CA}
$new -subj "/CN={HOST}" -keyout server.key -out server.csr
echo "subjectAltName=DNS:{HOST}" > server.ext
openssl x509 -req -days 30 -in server.csr -CA {CA} -CAkey ca.key -CAcreateserial \\
    -extfile server.ext -out server.crt
install -m 0600 /dev/null /etc/lighttpd/server.pem
cat server.key server.crt > /etc/lighttpd/server.pem
"""
LIGHTTPD = f"""\
server.modules = ("mod_openssl", "mod_auth", "mod_authn_file", "mod_alias", "mod_setenv", "mod_cgi")
server.document-root = "/var/www"
server.port = 443
server.username = "www-data"
server.groupname = "www-data"
server.pid-file = "/run/lighttpd.pid"
ssl.engine = "enable"
ssl.pemfile = "/etc/lighttpd/server.pem"
alias.url = ("/git" => "/usr/lib/git-core/git-http-backend")
cgi.assign = ("" => "")
setenv.add-environment = ("GIT_PROJECT_ROOT" => "{REPOSITORIES}", "GIT_HTTP_EXPORT_ALL" => "1")
auth.backend = "plain"
auth.backend.plain.userfile = "/etc/lighttpd/passwords"
auth.require = ("/" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))
"""


class GitServer:
    """A machine of the fleet that serves the inventory over ssh and https."""

    ssh_url = f"ssh://git@{HOST}{REPOSITORIES}/mesh.git"
    https_url = f"https://{HOST}/git/mesh.git"

    def __init__(self, fleet: Fleet) -> None:
        directory = fleet.forge.directory
        (self.machine,) = fleet.add_booted({"server": "trixie"}, shows={directory: REPOSITORIES})
        self.machine.write("/etc/gitconfig", "[safe]\n\tdirectory = *\n")
        self._start_sshd()
        self._start_web_server()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the server's ed25519 host key, `SHA256:…`."""
        argv = ["ssh-keygen", "-l", "-f", "/etc/ssh/ssh_host_ed25519_key.pub"]
        return self.machine.run(argv).stdout.split()[1]

    @property
    def ca(self) -> str:
        """The CA's certificate."""
        return self.machine.read(CA)

    def admit(self, public_key: str) -> None:
        """Add a deploy key that may only read."""
        self.machine.run(["sh", "-c", f"cat >> {KEYS}"], stdin=f"{DEPLOY} {public_key}\n")

    def _start_sshd(self) -> None:
        machine = self.machine
        machine.run(["useradd", "--system", "--create-home", "--shell=/usr/bin/git-shell", "git"])
        machine.run(["install", "-d", "-o", "git", "-g", "git", "-m", "0700", "/home/git/.ssh"])
        machine.run(["install", "-o", "git", "-g", "git", "-m", "0600", "/dev/null", KEYS])
        machine.run(["ssh-keygen", "-A"])
        machine.run(["systemctl", "start", "ssh.service"])
        wait_until(lambda: listens(machine, 22), 20, "sshd listens")

    def _start_web_server(self) -> None:
        machine = self.machine
        machine.run(["sh", "-c", MAKE_CERTIFICATES])
        machine.write("/etc/lighttpd/passwords", f"{USER}:{PASSWORD}\n")
        machine.write("/etc/lighttpd/lighttpd.conf", LIGHTTPD)
        machine.run(["systemctl", "start", "lighttpd.service"])
        wait_until(lambda: listens(machine, 443), 20, "the web server listens")


def listens(machine: BootedMachine, port: int) -> bool:
    """Return whether something listens on a TCP port of a machine."""
    return f":{port} " in machine.run(["ss", "-Hltn", f"sport = {port}"]).stdout
