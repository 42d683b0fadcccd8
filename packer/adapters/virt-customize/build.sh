#!/bin/sh
# A disk image by virt-customize: build.sh IMAGE [ARGUMENTS OF virt-customize].
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
image=${1:?usage: build.sh IMAGE}
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/cowgate-build"
cp -RL "$here/../../../hooks" "$here/../in-image.sh" "$work/cowgate-build/"
virt-customize -a "$image" "$@" --copy-in "$work/cowgate-build:/opt" \
    --run-command "sh /opt/cowgate-build/in-image.sh" --delete /opt/cowgate-build
