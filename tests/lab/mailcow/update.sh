#!/usr/bin/env bash
# An updater in the shape of mailcow's: what it needs of git, where it stops the containers, its hooks, IPv6 decided anew at every
# run. Written for the tests; nothing of it is mailcow's own text.
set -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -f "$PWD/mailcow.conf" ] || { echo "run it in the install directory"; exit 1; }
branch=$(git rev-parse --abbrev-ref HEAD)
modules() { find _modules -type f -exec sha256sum {} + | sort; }
before=$(modules)
git fetch origin "$branch"
git checkout "origin/$branch" -- _modules || { echo "_modules cannot be fetched"; exit 2; }
[ "$before" = "$(modules)" ] || { echo "the modules are newer now: start the update again"; exit 2; }
[ "$(id -u)" = 0 ] || exit 1
[ ! -f "$here/pre_update_hook.sh" ] || bash "$here/pre_update_hook.sh"
umask 0022
chmod 600 mailcow.conf
# shellcheck disable=SC1091  # made by the generator
. ./mailcow.conf
if docker compose version --short >/dev/null 2>&1; then
    compose="docker compose"
    sed -i 's/^DOCKER_COMPOSE_VERSION=.*/DOCKER_COMPOSE_VERSION=native/' mailcow.conf
else
    compose=docker-compose
    sed -i 's/^DOCKER_COMPOSE_VERSION=.*/DOCKER_COMPOSE_VERSION=standalone/' mailcow.conf
fi
$compose config -q || { echo "the files cannot be used"; exit 1; }
for image in $(git show "origin/$branch:docker-compose.yml" | awk '$1 == "image:" { print $2 }' | sort -u); do
    docker pull -q "$image" || exit 1
done
$compose down
ipv6=false
for target in 2001:4860:4860::8888 2606:4700:4700::1111; do
    ip -6 route show default | grep -q ^default && ping -6 -c1 -W2 "$target" >/dev/null 2>&1 && ipv6=true && break
done
sed -i "s/^ENABLE_IPV6=.*/ENABLE_IPV6=$ipv6/" mailcow.conf
[ -n "$(git config user.name)" ] || git config user.name lab
[ -n "$(git config user.email)" ] || git config user.email lab@cowgate.test
git add -u
git commit -qam "before the update"
git fetch origin
git config merge.defaultToUpstream true
git merge -q -Xtheirs -Xpatience -m "after the update" || { echo "the merge failed"; exit 1; }
$compose pull -q
$compose up -d --remove-orphans || exit 1
[ ! -f "$here/post_update_hook.sh" ] || bash "$here/post_update_hook.sh"
