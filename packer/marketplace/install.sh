#!/bin/sh
# Puts the questions of the first login into an image in which cowgate is: install.sh [ROOT]. Nothing of a tree is executed.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd -P)
root=${1:+$(cd "$1" && pwd -P)}
[ "$root" != / ] || root=
# A link in a tree may be meant for the system in it, and lead out of the tree here.
for place in ${root:+opt/cowgate etc/profile.d}; do
    case $(readlink -f "$root/$place")/ in
    "$root"/*) ;;
    *) echo "cowgate: $root/$place leads out of the tree" >&2; exit 2 ;;
    esac
done
[ -x "$root/opt/cowgate/hooks/cowgate.sh" ] || { echo "cowgate is not in this image yet: hooks/image-build first" >&2; exit 2; }
home=$root/opt/cowgate/onboarding
mkdir -p "$home" "$root/etc/profile.d"
cp "$here/onboarding.py" "$here/start" "$home/"
cp "$here/profile.sh" "$root/etc/profile.d/zz-cowgate-onboarding.sh"
chmod 0755 "$home/start"
chmod 0644 "$home/onboarding.py" "$root/etc/profile.d/zz-cowgate-onboarding.sh"
