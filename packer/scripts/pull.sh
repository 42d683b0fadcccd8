#!/bin/sh
# Pulls mailcow's Docker images, so that a clone need not. No checkout stays: it has a private key in it, as an example.
# MAILCOW_VERSION: branch, tag or commit; empty: nothing is pulled.
set -eu
[ -n "$MAILCOW_VERSION" ] || exit 0
checkout=$(mktemp -d)
trap 'rm -rf "$checkout"' EXIT
git clone --quiet --no-checkout https://github.com/mailcow/mailcow-dockerized "$checkout"
git -C "$checkout" checkout --quiet "$MAILCOW_VERSION"
# Without a mailcow.conf its variables are empty, which the names of the images do not depend on.
touch "$checkout/mailcow.conf"
docker compose --project-directory "$checkout" config --images 2>/dev/null | sort -u >"$checkout/images"
[ -s "$checkout/images" ]
while read -r image; do docker pull --quiet "$image"; done <"$checkout/images"
