#!/bin/sh
# The hygiene gate: the last word of a build. Both looks are taken, so that one failed build tells everything.
failed=no
cowgate seal --check || failed=yes
cowgate check --phase build || failed=yes
[ "$failed" = no ] || { echo "This image is not fit: the build fails." >&2; exit 3; }
