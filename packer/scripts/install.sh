#!/bin/sh
# Puts the uploaded cowgate.pyz in place as /opt/cowgate/hooks, once its digest was compared, and the policy beside it.
# COWGATE_SHA256: the digest.
set -eu
umask 022
home=/opt/cowgate
mkdir -p "$home"
# The copy that is compared is the one that is used, and only root can change it.
cp /dev/shm/cowgate.pyz "$home/cowgate.pyz"
echo "$COWGATE_SHA256  $home/cowgate.pyz" | sha256sum --check --quiet
rm -rf "$home/hooks"
python3 -m zipfile -e "$home/cowgate.pyz" "$home/hooks"
rm "$home/cowgate.pyz" "$home/hooks/__main__.py" /dev/shm/cowgate.pyz
mv "$home/hooks/cowgate/launcher.sh" "$home/hooks/cowgate.sh"
chmod 0755 "$home/hooks/cowgate.sh"
mkdir -p /usr/local/sbin
cp "$home/hooks/cowgate/command.sh" /usr/local/sbin/cowgate.new
chmod 0755 /usr/local/sbin/cowgate.new
mv -f /usr/local/sbin/cowgate.new /usr/local/sbin/cowgate
if [ -s /dev/shm/policy.yaml ]; then
    mkdir -p /etc/cowgate
    # Packer uploads it with the mode that it has where the build was started; a policy that not all may read shuts every gate.
    install -m 0644 /dev/shm/policy.yaml /etc/cowgate/policy.yaml
    cowgate validate /etc/cowgate/policy.yaml
fi
rm -f /dev/shm/policy.yaml
