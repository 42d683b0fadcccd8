"""The parts that make a machine check itself at its first boot: the same for images and for user-data."""

from __future__ import annotations

import os
from typing import Any

import cowgate
from cowgate.errors import StateError

UNIT_DIR = "/etc/systemd/system"

LAUNCHER = "/opt/cowgate/hooks/cowgate.sh"

COMMAND = "/usr/local/sbin/cowgate"

CLEAN_HOOK = "/etc/cloud/clean.d/90-cowgate"

LOGIN = "/opt/cowgate/hooks/cowgate/login.sh"

MOTD = "/etc/update-motd.d/90-cowgate"

PROFILE = "/etc/profile.d/cowgate.sh"

INSTALL_UNIT = "cowgate-install.service"

# Written always; the install unit is there too, and enabled only by who wants the install.
UNITS = (
    "cowgate-early.service",
    "cowgate.service",
    "cowgate-ready.target",
    "cowgate-retry.service",
    "cowgate-retry.timer",
    INSTALL_UNIT,
)

# What `systemctl enable` makes of the [Install] sections, as (link, target).
LINKS = (
    (f"{UNIT_DIR}/sysinit.target.wants/cowgate-early.service", f"{UNIT_DIR}/cowgate-early.service"),
    (f"{UNIT_DIR}/cloud-init.target.wants/cowgate.service", f"{UNIT_DIR}/cowgate.service"),
    (f"{UNIT_DIR}/cloud-init.target.wants/cowgate-ready.target", f"{UNIT_DIR}/cowgate-ready.target"),
)

# Runs after cloud-init deleted its state. A failure makes `cloud-init clean` fail, and with it the build: as it should.
CLEAN_HOOK_TEXT = """\
#!/bin/sh
# The result of this machine must not reach a clone, and the check must run at the clone's first boot.
set -eu
rm -f /var/lib/cowgate/readiness.json /var/lib/cowgate/seal.json
exec /usr/local/sbin/cowgate run --phase build --only image.hook --yes
"""

# Debian's and Ubuntu's pam_motd runs what is in update-motd.d, and shows it from /run/motd.dynamic.
MOTD_TEXT = f"""\
#!/bin/sh
[ ! -r {LOGIN} ] || exec sh {LOGIN}
"""

PROFILE_TEXT = f"""\
# Whether this machine is ready for mailcow, where pam_motd did not tell it already.
case $- in
*i*) [ ! -r {LOGIN} ] || [ -e ~/.hushlogin ] || grep -qs "^cowgate: " /run/motd.dynamic || sh {LOGIN} ;;
esac
"""

# What is put in place beside the units, as (path, text, mode). Whoever takes the login message away may: no row misses it.
FILES = ((CLEAN_HOOK, CLEAN_HOOK_TEXT, 0o755), (MOTD, MOTD_TEXT, 0o755), (PROFILE, PROFILE_TEXT, 0o644))


def unit_text(name: str) -> str:
    """The text of one of our units. Raises StateError when this installation lacks it."""

    try:  # as pkgutil.get_data(), whose import costs more than the whole row
        loader: Any = cowgate.__loader__
        content: bytes = loader.get_data(os.path.join(os.path.dirname(cowgate.__file__), "units", name))
    except OSError:
        raise StateError(f"this installation of cowgate lacks the unit {name}", hint="install cowgate again") from None
    return content.decode()
