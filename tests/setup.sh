#!/bin/sh
# Makes this machine ready for `make test`, `make demo` and the linters:
#   tests/setup.sh system   the Debian packages that are missing (root and apt-get; else it only says so)
#   tests/setup.sh venv     .venv/ with wgmesh (editable), the tools of tests/requirements.txt, promtool, sshd
#   tests/setup.sh deb      the Debian packages that `make deb` and `make apt-repo` need
#   tests/setup.sh check    those that the other packaging targets need
#
# Where Debian's python3 has the libraries that wgmesh runs on, .venv/ sees those and pip brings only
# tools: what is tested is what users get from their distribution. Elsewhere they come from PyPI.
set -eu
cd "$(dirname "$0")/.."

LIBRARIES="python3-git python3-jinja2 python3-pyroute2 python3-tomli-w python3-cryptography"
PACKAGES="ca-certificates dropbear-bin git gpg gpg-agent gpgv iproute2 iptables iputils-ping
    libwrap0 mount nftables openssh-client procps python3 python3-venv shellcheck strace sudo tcpdump util-linux
    wireguard-go wireguard-tools python3-segno $LIBRARIES"
BUILDING="apt-utils bash-completion build-essential debhelper dh-python git gnupg
    pybuild-plugin-pyproject python3 python3-setuptools python3-wheel"
CHECKING="$BUILDING autopkgtest debian-archive-keyring dnsmasq-base iproute2 lintian mmdebstrap piuparts python3-all
    python3-pip python3-stdeb systemd-container"

say() {
    echo "setup: $*" >&2
}

# missing PACKAGE...: prints those that dpkg does not have installed.
missing() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
            installed) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

has_apt() {
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}

packages() { # packages LIST
    has_apt || return 0
    # shellcheck disable=SC2086  # a list
    wanted=$(missing $1)
    [ -n "$wanted" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "missing, and only root can install them: apt-get install $wanted"
        return 0
    fi
    say "installing $wanted"
    # The lists may be absent or old: ask for new ones only when those on the machine do not serve.
    # shellcheck disable=SC2086
    install $wanted 2>/dev/null || {
        apt-get update -qq
        install $wanted
    }
}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check install -q --retries 10 "$@" </dev/null >&2
}

# promtool: only that program of Debian's prometheus; without it some tests are skipped.
promtool() {
    has_apt || return 0
    rm -rf .venv/prometheus
    mkdir .venv/prometheus
    (
        cd .venv/prometheus &&
            timeout 60 apt-get download -qq prometheus </dev/null &&
            dpkg --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool &&
            ./promtool --version && mv promtool ../bin/
    ) >/dev/null 2>&1 || say "no promtool to be had: the tests of the alert rules are skipped"
    rm -rf .venv/prometheus
}

# sshd: only that program of Debian's openssh-server, whose installation would start a server here.
sshd() {
    has_apt || return 0
    rm -rf .venv/openssh
    mkdir .venv/openssh
    (
        cd .venv/openssh &&
            timeout 60 apt-get download -qq openssh-server </dev/null &&
            dpkg --fsys-tarfile openssh-server_*.deb | tar -x ./usr && rm openssh-server_*.deb
    ) >/dev/null 2>&1 || say "no sshd to be had: the tests that go over ssh are skipped"
}

venv() {
    python=$(command -v python3) || { say "no python3 here: install Python 3.11 or later"; exit 1; }
    kind=pypi
    # shellcheck disable=SC2086
    if has_apt && [ -x /usr/bin/python3 ] && [ -z "$(missing python3-venv $LIBRARIES)" ]; then
        python=/usr/bin/python3
        kind=distribution
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        say "$python is older than 3.11, which wgmesh needs"
        exit 1
    }
    made_from=$(
        pwd
        echo "$kind"
        "$python" -c 'import sys; print(sys.executable, sys.version)'
    )
    state=$made_from$(cat setup.cfg pyproject.toml setup.py tests/requirements.txt tests/setup.sh | cksum)
    [ "$(cat .venv/state 2>/dev/null)" != "$state" ] || return 0

    say "making .venv with $python, libraries from: $kind"
    clear=--clear
    if [ "$(cat .venv/made-from 2>/dev/null)" = "$made_from" ]; then
        clear= # only the lists changed: pip brings it up to date under running tests
    fi
    site=
    [ "$kind" = pypi ] || site=--system-site-packages
    # shellcheck disable=SC2086
    "$python" -m venv $clear $site .venv
    echo "$made_from" >.venv/made-from
    promtool & # while pip works
    sshd &
    pip -r tests/requirements.txt
    no_deps=
    [ "$kind" = pypi ] || no_deps=--no-deps
    # compat: a plain path entry, which costs nothing at start-up and which mypy can follow
    # shellcheck disable=SC2086
    pip --no-build-isolation $no_deps --config-settings editable_mode=compat -e .
    wait
    printf '%s' "$state" >.venv/state
}

case ${1-} in
    system) packages "$PACKAGES" ;;
    deb) packages "$BUILDING" ;;
    check) packages "$CHECKING" ;;
    venv) venv ;;
    *)
        echo "usage: tests/setup.sh system|venv|deb|check" >&2
        exit 2
        ;;
esac
