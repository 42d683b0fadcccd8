#!/usr/bin/env bash
# A generator in the shape of mailcow's, with its decisions: where it may run, what it asks, which branch it checks out, IPv6 by
# a default route and two pings, daemon.json, mailcow.conf. Written for the tests; nothing of it is mailcow's own text.
set -o pipefail

[ -L .env ] && [ "$(basename "$(readlink -f .env)")" = mailcow.conf ] || { echo "not an install directory"; exit 1; }
for tool in openssl curl docker git awk sha1sum grep cut jq; do
    command -v "$tool" >/dev/null || { echo "missing tool: $tool"; exit 1; }
done
major=$(docker version --format '{{.Server.Version}}' | cut -d . -f 1)
[ "${major:-0}" -ge 24 ] || { echo "Docker is too old"; exit 1; }

if [ -f mailcow.conf ]; then
    read -r -p "overwrite mailcow.conf? [y/N] " answer
    [ "$answer" = y ] || exit 1
    mv mailcow.conf mailcow.conf_backup
fi
while [ -z "$MAILCOW_HOSTNAME" ]; do read -r -p "hostname: " MAILCOW_HOSTNAME || exit 1; done
zone=$(cat /etc/timezone 2>/dev/null || readlink /etc/localtime | sed -n 's|^.*zoneinfo/||p')
while [ -z "$MAILCOW_TZ" ]; do read -r -p "time zone [$zone]: " MAILCOW_TZ; MAILCOW_TZ=${MAILCOW_TZ:-$zone}; done
SKIP_CLAMD=${SKIP_CLAMD:-n}

if [ "$1" = --dev ]; then
    branch=$(git rev-parse --short "$(git rev-parse '@{upstream}')")
else
    while [ -z "$MAILCOW_BRANCH" ]; do read -r -p "branch: " MAILCOW_BRANCH; MAILCOW_BRANCH=${MAILCOW_BRANCH:-master}; done
    git fetch --all
    git checkout -f "$MAILCOW_BRANCH"
    branch=$MAILCOW_BRANCH
fi

answers() {
    local target
    for target in 2001:4860:4860::8888 2606:4700:4700::1111; do
        if command -v ping6 >/dev/null; then ping6 -c1 -W2 "$target" >/dev/null 2>&1 && return 0
        elif command -v ping >/dev/null; then ping -6 -c1 -W2 "$target" >/dev/null 2>&1 && return 0
        fi
    done
    return 1
}

ipv6=false
if [ -f /proc/net/if_inet6 ] && ! grep -qs ^1 /proc/sys/net/ipv6/conf/all/disable_ipv6; then
    if ip -6 route show default | grep -q ^default && answers; then ipv6=true; fi
fi
if [ "$ipv6" = true ]; then
    conf=/etc/docker/daemon.json
    if ! grep -Eqs '"ipv6"[[:space:]]*:[[:space:]]*true' "$conf"; then
        read -r -p "set Docker up for IPv6? [Y/n] " answer
        [ "${answer:-Y}" = Y ] || exit 1
        mkdir -p /etc/docker
        [ -s "$conf" ] || echo '{}' > "$conf"
        jq '.ipv6 = true | .["fixed-cidr-v6"] = "fd00:dead:beef:c0::/80"' "$conf" > "$conf.new" && mv "$conf.new" "$conf"
        systemctl restart docker
    fi
fi

umask > generated-with-umask
# mailcow's own writes a long here-document: whoever is cut off in the middle leaves half of it.
cat > mailcow.conf <<END
MAILCOW_HOSTNAME=$MAILCOW_HOSTNAME
DBNAME=mailcow
DBUSER=mailcow
DBPASS=c4nary$(openssl rand -hex 11)
DBROOT=c4nary$(openssl rand -hex 11)
REDISPASS=c4nary$(openssl rand -hex 11)
HTTP_PORT=80
HTTP_BIND=
HTTPS_PORT=443
HTTPS_BIND=
HTTP_REDIRECT=y
SMTP_PORT=25
SMTPS_PORT=465
SUBMISSION_PORT=587
IMAP_PORT=143
IMAPS_PORT=993
POP_PORT=110
POPS_PORT=995
SIEVE_PORT=4190
DOVEADM_PORT=127.0.0.1:19991
SQL_PORT=127.0.0.1:13306
REDIS_PORT=127.0.0.1:7654
TZ=$MAILCOW_TZ
COMPOSE_PROJECT_NAME=mailcowdockerized
DOCKER_COMPOSE_VERSION=
ADDITIONAL_SAN=
SKIP_LETS_ENCRYPT=n
SKIP_UNBOUND_HEALTHCHECK=n
SKIP_CLAMD=$SKIP_CLAMD
SKIP_OLEFY=n
SKIP_SOGO=n
SKIP_FTS=n
USE_WATCHDOG=y
IPV4_NETWORK=172.22.1
IPV6_NETWORK=fd4d:6169:6c63:6f77::/64
#SNAT_TO_SOURCE=
ENABLE_IPV6=$ipv6
END
chmod 600 mailcow.conf

mkdir -p data/assets/ssl
openssl req -x509 -newkey rsa:2048 -keyout data/assets/ssl/key.pem -out data/assets/ssl/cert.pem -days 365 -nodes \
    -subj "/CN=$MAILCOW_HOSTNAME" 2>/dev/null
if [ "$branch" = master ]; then
    version=$(git describe --tags "$(git rev-list --tags --max-count=1)")
else
    version=$(git rev-parse --short HEAD)
fi
mkdir -p data/web/inc
# shellcheck disable=SC2016  # PHP's variables
printf '<?php\n  $MAILCOW_GIT_VERSION="%s";\n  $MAILCOW_BRANCH="%s";\n?>\n' "$version" "$branch" > data/web/inc/app_info.inc.php
