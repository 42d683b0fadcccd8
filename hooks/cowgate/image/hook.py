"""The parts that make a machine check itself at its first boot: the same for images and for user-data.

They differ with what starts services there (systemd or OpenRC) and with how cowgate was installed: a package brings its units
itself, and its command is another. Where both a package and a copy in /opt/cowgate are, the package counts.
"""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import cowgate
from cowgate.errors import StateError

if TYPE_CHECKING:
    from cowgate.machine.host import Host

UNIT_DIR = "/etc/systemd/system"
PACKAGE_UNIT_DIR = "/usr/lib/systemd/system"
SERVICE_DIR = "/etc/init.d"

LAUNCHER = "/opt/cowgate/hooks/cowgate.sh"

COMMAND = "/usr/local/sbin/cowgate"


class Home(NamedTuple):
    """Where cowgate lies on a machine: its files, the command, and whether a package brought both."""

    files: str
    command: str
    packaged: bool = False

    @property
    def launcher(self) -> str:
        return f"{self.files}/cowgate.sh"

    def adapt(self, text: str) -> str:
        """A unit, service or script, with the command that is there."""
        return text.replace(COMMAND, self.command).replace(BY_HAND.files, self.files)


BY_HAND = Home("/opt/cowgate/hooks", COMMAND)
PACKAGE = Home("/usr/lib/cowgate", "/usr/sbin/cowgate", packaged=True)


def home_of(host: "Host") -> Home:
    """The installation that counts on this machine, or in this tree."""
    return PACKAGE if host.exists(PACKAGE.launcher) else BY_HAND


def manager_of(host: "Host") -> str:
    """What starts services: systemd, openrc, or nothing that is known."""
    if host.live and host.exists("/run/systemd/system"):
        return "systemd"
    if host.live and host.exists("/run/openrc/softlevel"):
        return "openrc"
    if any(host.exists(f"{directory}/systemd/systemd") for directory in ("/usr/lib", "/lib")):
        return "systemd"
    return "openrc" if any(host.exists(f"{directory}/openrc-run") for directory in ("/sbin", "/usr/sbin")) else ""


CLEAN_HOOK = "/etc/cloud/clean.d/90-cowgate"

LOGIN = "/opt/cowgate/hooks/cowgate/login.sh"

MOTD = "/etc/update-motd.d/90-cowgate"

PROFILE = "/etc/profile.d/cowgate.sh"

INSTALL_UNIT = "cowgate-install.service"
# What user-data starts first: it belongs to no image.
BEGIN_UNIT = "cowgate-begin.service"
BEGIN_SERVICE = "cowgate-begin"
BEGIN_TOLD = "/run/cowgate-begin"

# Written always; the install unit is there too, and enabled only by who wants the install.
UNITS = (
    "cowgate-early.service",
    "cowgate.service",
    "cowgate-ready.target",
    "cowgate-retry.service",
    "cowgate-retry.timer",
    INSTALL_UNIT,
)

# What `systemctl enable` makes of the [Install] sections: the directory of links, and the unit.
WANTED = (
    ("sysinit.target.wants", "cowgate-early.service"),
    ("cloud-init.target.wants", "cowgate.service"),
    ("cloud-init.target.wants", "cowgate-ready.target"),
)
# OpenRC's services and the runlevel of each; as above, who wants the install puts that into a runlevel.
SERVICES = {"cowgate-early": "boot", "cowgate": "default", "cowgate-install": ""}


def links(manager: str, home: Home) -> tuple[tuple[str, str], ...]:
    """What enables the parts, as (link, target)."""
    if manager == "openrc":
        return tuple((f"/etc/runlevels/{level}/{name}", f"{SERVICE_DIR}/{name}") for name, level in SERVICES.items() if level)
    units = PACKAGE_UNIT_DIR if home.packaged else UNIT_DIR
    return tuple((f"{UNIT_DIR}/{wants}/{unit}", f"{units}/{unit}") for wants, unit in WANTED)


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
[ ! -r {BEGIN_TOLD} ] || cat {BEGIN_TOLD}
"""

PROFILE_TEXT = f"""\
# Whether this machine is ready for mailcow, where pam_motd did not tell it already.
case $- in
*i*)
    if [ -e ~/.hushlogin ] || grep -qs "^cowgate: " /run/motd.dynamic; then :
    elif [ -r {LOGIN} ]; then sh {LOGIN}
    elif [ -r {BEGIN_TOLD} ]; then cat {BEGIN_TOLD}
    fi ;;
esac
"""


def files(manager: str, home: Home) -> tuple[tuple[str, str, int], ...]:
    """What is put in place beside the units, as (path, text, mode). Who takes the login message away may: no row misses it."""
    found = [(CLEAN_HOOK, CLEAN_HOOK_TEXT, 0o755), (MOTD, MOTD_TEXT, 0o755), (PROFILE, PROFILE_TEXT, 0o644)]
    if manager != "systemd":
        found.remove((MOTD, MOTD_TEXT, 0o755))  # pam_motd is not to be had there
    return tuple((path, home.adapt(text), mode) for path, text, mode in found)


def unit_text(name: str, home: Home = BY_HAND) -> str:
    """The text of one of our units. Raises StateError when this installation lacks it."""
    return home.adapt(_data("units", "unit", name))


def service_text(name: str, home: Home = BY_HAND) -> str:
    """The text of one of our OpenRC services, likewise."""
    return home.adapt(_data("services", "service", name))


def _data(directory: str, what: str, name: str) -> str:
    try:  # as pkgutil.get_data(), whose import costs more than the whole row
        loader: Any = cowgate.__loader__
        content: bytes = loader.get_data(os.path.join(os.path.dirname(cowgate.__file__), directory, name))
    except OSError:
        raise StateError(f"this installation of cowgate lacks the {what} {name}", hint="install cowgate again") from None
    return content.decode()
