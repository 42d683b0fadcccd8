#!/bin/sh
# Docker and Compose, where they are missing. DOCKER_SOURCE: distro (its packages) or docker (Docker's own repository).
set -eu
! docker compose version >/dev/null 2>&1 || exit 0
export DEBIAN_FRONTEND=noninteractive
# shellcheck source=/dev/null
. /etc/os-release
if ! command -v apt-get >/dev/null; then
    [ "$DOCKER_SOURCE" = docker ] || { echo "$ID has no packages of Docker: use docker_source=docker" >&2; exit 1; }
    dnf -y install dnf-plugins-core
    dnf config-manager --add-repo "https://download.docker.com/linux/rhel/docker-ce.repo"
    dnf -y install docker-ce docker-ce-cli containerd.io docker-compose-plugin
    systemctl enable --now docker.service
    exit 0
fi
apt-get -q update
if [ "$DOCKER_SOURCE" = docker ]; then
    apt-get -q -y install ca-certificates curl
    mkdir -p /etc/apt/keyrings
    curl -fsSL "https://download.docker.com/linux/$ID/gpg" -o /etc/apt/keyrings/docker.asc
    echo "deb [signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/$ID $VERSION_CODENAME stable" \
        >/etc/apt/sources.list.d/docker.list
    apt-get -q update
    apt-get -q -y install docker-ce docker-ce-cli containerd.io docker-compose-plugin
elif [ "$ID" = ubuntu ]; then
    apt-get -q -y install docker.io docker-compose-v2
else
    apt-get -q -y install docker.io docker-cli docker-compose
fi
docker compose version
