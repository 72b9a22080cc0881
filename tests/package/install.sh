#!/bin/sh
# In a fresh root, with the repository at /srv/apt: installs wgmesh as docs/packaging.md says.
set -eux
export DEBIAN_FRONTEND=noninteractive

install -D -m 644 /srv/apt/wgmesh.asc /etc/apt/keyrings/wgmesh.asc
cat >/etc/apt/sources.list.d/wgmesh.sources <<'SOURCE'
Types: deb
URIs: file:/srv/apt
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/wgmesh.asc
SOURCE
apt-get update
# What wireguard-tools recommends is a kernel.
apt-get install -y --no-install-recommends wgmesh
[ "$(wgmesh status || echo $?)" != 0 ]
systemctl is-enabled wgmesh-sync.timer wgmesh-recover.service wgmesh-guard.service
apt-get install -y --no-install-recommends autopkgtest dpkg-dev iputils-ping openssh-client wireguard-go
dpkg-query -W -f '${Package} ${Version} on the system\n' wgmesh
