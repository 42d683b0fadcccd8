#!/bin/sh
# cloud-init may still install packages and write files. Exit code 2 is its "done, with warnings"; older ones do not know it.
set -eu
command -v cloud-init >/dev/null || { echo "cloud-init is not installed: a clone would have no name and no keys" >&2; exit 1; }
code=0
cloud-init status --wait || code=$?
[ "$code" = 0 ] || [ "$code" = 2 ]
