#!/bin/sh
# The tree below DIR as an image, made so by what is in it: chroot.sh DIR, as root. (hooks/image-build --root executes nothing of it.)
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "${1:?usage: chroot.sh DIR}" && pwd -P)
work=$(mktemp -d "$root/root/cowgate.XXXXXX")
trap 'umount "$root/proc" 2>/dev/null || :; rm -rf "$work"' EXIT
mount -t proc proc "$root/proc"
cp -RL "$here/../../hooks" "$here/in-image.sh" "$work/"
chroot "$root" sh "${work#"$root"}/in-image.sh"
