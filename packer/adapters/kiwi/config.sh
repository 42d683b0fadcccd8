#!/bin/sh
# KIWI: hooks (cp -RL) and in-image.sh in the overlay as root/opt/cowgate-build, and this as config.sh, or at the end of yours.
set -eu
sh /opt/cowgate-build/in-image.sh
rm -rf /opt/cowgate-build
