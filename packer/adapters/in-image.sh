#!/bin/sh
# Inside of an image's own root directory, whatever tool went there: repair what a build can repair, put in what checks each first
# boot, seal, and look once more. An image that is not fit ends with exit code 3. The directory hooks lies beside this file, or it is
# that of the checkout. COWGATE_PROVIDER and COWGATE_ONBOARDING=true are optional.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
hooks=$here/hooks
[ -d "$hooks" ] || hooks=$here/../../hooks
"$hooks/image-build"
[ "${COWGATE_ONBOARDING:-false}" = false ] || sh "$here/../marketplace/install.sh"
# From here on with the copy that stays: the seal empties /tmp, where this one may be. What the tool mounted for this script's
# time (its /run, sources, caches) is none of the image, and the seal refuses to work beside it: it is taken away in a mount
# namespace of our own, where the tool does not see it.
# shellcheck disable=SC2016  # for the inner shell
alone='
awk "\$5 != \"/\" && \$5 !~ /^\/(proc|sys|dev)(\/|\$)/ { print \$5 }" /proc/self/mountinfo | sort -r |
    while read -r place; do umount -l "$place" || exit; done
exec "$@"'
without_mounts() { unshare --mount --propagation private sh -ec "$alone" sh "$@"; }
cd /
without_mounts /opt/cowgate/hooks/image-seal --yes ${COWGATE_PROVIDER:+--provider "$COWGATE_PROVIDER"}
without_mounts /opt/cowgate/hooks/image-seal --check
without_mounts /opt/cowgate/hooks/cowgate.sh check --phase build
