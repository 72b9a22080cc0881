#!/bin/bash
# In a root where wgmesh is installed, without a network: a node of a real mesh lives through an
# upgrade, the removal and the purge of the package. A configuration from before wgmesh comes back.
set -euxo pipefail
export DEBIAN_FRONTEND=noninteractive HOME=/root
cd "$(mktemp -d)"

link_index() {
    ip -json link show dev wg0 | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["ifindex"])'
}

apt_get() {
    apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/etc/apt/ours "$@"
}

ip link set lo up
ssh-keygen -q -t ed25519 -N '' -f key
git config --global gpg.format ssh
git config --global user.signingkey "$PWD/key.pub"
git config --global user.name tester
git config --global user.email tester@example.com
wgmesh init fleet --signer key.pub >said
read -r -a join < <(sed -n 's|^wgmesh join REMOTE|git://127.0.0.1/fleet|p' said)
git daemon --export-all --base-path="$PWD" &
timeout 30 sh -c 'until git ls-remote -q git://127.0.0.1/fleet; do sleep 0.2; done'

# What somebody had before wgmesh, and beside it.
printf '[Interface]\nPrivateKey = %s\nListenPort = 4711\n' "$(wg genkey)" >/etc/wireguard/wg0.conf
printf '[Interface]\nPrivateKey = %s\n' "$(wg genkey)" >/etc/wireguard/other.conf
cp /etc/wireguard/wg0.conf before.conf
wgmesh join "${join[@]}" --node alpha >entry
wgmesh node add alpha --from entry -c fleet
git -C fleet add -A
git -C fleet commit -q -S -m Alpha
wgmesh sync
[ "$(readlink /etc/wireguard/wg0.conf)" = wgmesh.d/boot/wg0.conf ]
index=$(link_index)
public=$(wg show wg0 public-key)
sed -i 's/^#drift = .*/drift = "repair"/' /etc/wgmesh/wgmesh.toml
find /etc/wireguard -not -name endpoints | sort >files

install -d /etc/apt/ours
sed 's|/srv/apt|/srv/next|' /etc/apt/sources.list.d/wgmesh.sources >/etc/apt/ours/wgmesh.sources
apt_get update
old=$(dpkg-query -W -f '${Version}' wgmesh)
apt_get upgrade -y
[ "$(dpkg-query -W -f '${Version}' wgmesh)" = "$old.1" ]
grep 'drift = "repair"' /etc/wgmesh/wgmesh.toml
wgmesh sync
wgmesh status
case $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release) in
    bookworm) backported=3.1.44-0wgmesh1 ;;
    *) backported= ;; # what the distribution has is as new
esac
[ -z "$backported" ] || [ "$(dpkg-query -W -f '${Version}' python3-git)" = $backported ]

apt_get remove -y wgmesh
find /etc/wireguard -not -name endpoints | sort | diff files -
[ -e /etc/wgmesh/node.toml ]
[ -e /var/lib/wgmesh/repository.git ]

dpkg --purge wgmesh 2>&1 | tee said
grep 'private key /etc/wireguard/wg0.key stays' said
for path in /etc/wgmesh /var/lib/wgmesh /run/wgmesh /etc/wireguard/wgmesh.d; do
    [ ! -e $path ]
done
[ "$(find /etc/wireguard -not -type d | sort | xargs -n 1 basename | xargs)" = "other.conf wg0.conf wg0.key" ]
[ ! -L /etc/wireguard/wg0.conf ]
cmp before.conf /etc/wireguard/wg0.conf
[ "$(stat -c %a /etc/wireguard/wg0.conf)" = 600 ]
[ -z "$(find /etc/systemd /usr/lib/systemd -name '*wgmesh*')" ]

# The tunnel stays through all of it.
[ "$(link_index)" = "$index" ]
[ "$(wg show wg0 public-key)" = "$public" ]
echo "the interface stayed, its key and what was there before wgmesh too"
