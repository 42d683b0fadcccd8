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
# From here on with the copy that stays: the seal empties /tmp, where this one may be.
cd /
/opt/cowgate/hooks/image-seal --yes ${COWGATE_PROVIDER:+--provider "$COWGATE_PROVIDER"}
/opt/cowgate/hooks/image-seal --check
cowgate=/opt/cowgate/hooks/cowgate.sh
exec "$cowgate" check --phase build
