"""How the system is set up: tools, host name, time zone, umask, mandatory access control."""

from __future__ import annotations

from cowgate.model import Commands, Level, Phase, Verdict, deferred, failed, passed, warned
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.tools import Tools
    from cowgate.policy import Policy

# The package that brings a command, where its name is another. The same on Debian, EL and Alpine.
PACKAGES = {"awk": "gawk", "sha1sum": "coreutils", "cut": "coreutils", "cp": "coreutils"}
# manager -> what is run before the packages' names. A fresh image has no lists of apt's, or old ones; the others fetch theirs.
INSTALL: dict[str, Commands] = {
    "apt": (("apt-get", "update"), ("apt-get", "install", "-y", "--no-install-recommends")),
    "dnf": (("dnf", "install", "-y"),),
    "apk": (("apk", "add"),),
}

UMASK = 0o022  # mailcow's documentation; containers read the checkout as other users

LABEL_LENGTH = 63  # RFC 1123 §2.1, RFC 1035 §2.3.4
NAME_LENGTH = 253  # RFC 1035: 255 octets on the wire
LABELS = 3  # mailcow: the host name "consists of at least three parts"
# RFC 2606 and RFC 6761: nobody can own these, so they are placeholders that were never replaced
RESERVED_DOMAINS = ("example.com", "example.net", "example.org")
RESERVED_TLDS = ("example", "invalid", "localhost", "localdomain")


def manager_of(facts: Facts) -> str:
    """The package manager of this machine: apt, dnf, apk; "" where it is not known."""
    return (facts.tools.content.manager if facts.tools.content else None) or ""


def install(facts: Facts, *packages: str) -> Commands:
    """The commands that install packages; none where the package manager is not known."""
    commands = INSTALL.get(manager_of(facts), ())
    return (*commands[:-1], (*commands[-1], *packages)) if commands else ()


def restart(facts: Facts, unit: str) -> Commands:
    """The command that restarts a unit, with systemd or OpenRC."""
    if facts.services.content and facts.services.content.manager == "openrc":
        return (("rc-service", unit.rpartition(".")[0], "restart"),)
    return (("systemctl", "restart", unit),)


def packages_for(tools: Tools) -> tuple[str, ...]:
    """The packages that bring what is missing and replace what is BusyBox's, sorted."""
    return tuple(sorted({PACKAGES.get(name, name) for name in (*tools.missing, *tools.busybox)}))


@requirement(
    "system.tools",
    title="The commands that mailcow's scripts call",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("tools",),
    fix="system.tools",
)
def tools(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """All of them there, and grep, cp and sed not those of BusyBox."""
    value = facts.tools.value
    expected = " ".join(sorted((*value.paths, *value.missing))) + "; grep, cp and sed not from BusyBox"
    if not value.missing and not value.busybox:
        return passed(f"all {len(value.paths)} are there", expected=expected)
    said = [f"{', '.join(value.missing)} can not be found"] if value.missing else []
    said += (
        [f"{', '.join(value.busybox)} is BusyBox's, which lacks options that mailcow's scripts use"] if value.busybox else []
    )
    packages = packages_for(value)
    return failed(
        "; ".join(said),
        remedy=f"install {' '.join(packages)} with the distribution's package manager",
        commands=install(facts, *packages),
        expected=expected,
        observed="; ".join(said),
        evidence=value.paths,
    )


@requirement(
    "system.umask",
    title="Files that the containers can read (umask 0022)",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("system",),
)
def umask(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The umask of this process, which an install started from the same place gets."""
    value = facts.system.value.umask
    if value is None:
        return deferred("decided at first boot: an offline tree has no umask")
    if value == UMASK:
        return passed("0022", expected="0022")
    harm = "what the install writes can not be read in the containers" if value & 0o055 else "others could change its files"
    return failed(
        f"the umask is {value:04o}: {harm}",
        remedy="set the umask in this shell and run cowgate again from it; `cowgate install` sets it by itself",
        commands=(("umask", "0022"),),
        expected="0022",
        observed=f"{value:04o}",
    )


@requirement(
    "system.hostname",
    title="A full host name for mailcow",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("system", "mailcow"),
)
def hostname(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """MAILCOW_HOSTNAME of mailcow.conf where there is one, else the policy's. The generator accepts anything."""
    conf = facts.mailcow.value.conf if facts.mailcow.state == "value" else None
    configured = (conf or {}).get("MAILCOW_HOSTNAME", "")
    name, source = (configured, "mailcow.conf") if configured else (policy.hostname, "the policy")
    expected = "a host name with at least three parts, such as mail.your-domain.tld"
    proposed = facts.system.value.fqdn
    command = set_hostname(proposed if not name_problem(proposed) else "mail.your-domain.tld")
    if not name:
        return failed(
            "no host name is set for mailcow, neither in the policy nor in mailcow.conf",
            remedy="write the name under which the mail server will be reached into the policy",
            commands=(command,),
            expected=expected,
            observed="none",
        )
    problem = name_problem(name)
    if problem:
        return failed(
            f"{name!r} ({source}) can not be mailcow's host name: {problem}",
            remedy="correct MAILCOW_HOSTNAME in mailcow.conf" if configured else "write the right name into the policy",
            commands=() if configured else (command,),
            expected=expected,
            observed=name,
        )
    if configured and policy.hostname and policy.hostname.lower() != configured.lower():
        return warned(
            f"mailcow.conf says {configured}, the policy says {policy.hostname}; mailcow uses the first",
            remedy="make both the same",
            commands=(set_hostname(configured),),
            expected=expected,
            observed=configured,
        )
    return passed(f"{name} ({source})", expected=expected)


def set_hostname(name: str) -> tuple[str, ...]:
    """The one command that writes the host name into the policy, readable by everybody as the gate wants it."""
    file = "/etc/cowgate/policy.d/hostname.yaml"
    return ("sh", "-c", f"umask 022; mkdir -p /etc/cowgate/policy.d; echo 'hostname: {name}' > {file}")


def name_problem(name: str) -> str:
    """Why a name can not be a mail server's; "" where it can."""
    labels = name.split(".")
    if name.endswith("."):
        return "it ends with a dot"
    if len(labels) < LABELS:
        return f"it has {len(labels)} part{'s' if len(labels) > 1 else ''}, and three are needed"
    if len(name) > NAME_LENGTH:
        return f"it is longer than {NAME_LENGTH} characters"
    for label in labels:
        plain = label.isascii() and label.replace("-", "a").isalnum()
        if not plain or len(label) > LABEL_LENGTH or label.startswith("-") or label.endswith("-"):
            return f"{label!r} is no valid part: 1 to 63 letters, digits and hyphens, no hyphen at its ends"
    if labels[-1].isdecimal():
        return "it ends with a number, like an address"
    lower = name.lower()
    if lower.endswith(tuple(f".{domain}" for domain in RESERVED_DOMAINS)) or labels[-1].lower() in RESERVED_TLDS:
        return "nobody can own this name, it stands in examples"
    return ""


@requirement(
    "system.timezone",
    title="A time zone that can be determined",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("system",),
    wants=("tools",),
    fix="system.timezone",
)
def timezone(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """As mailcow's generator finds it; without one, and without a person to ask, it asks for ever."""
    zone = facts.system.value.timezone
    wanted = policy.timezone
    expected = f"{wanted} (the policy)" if wanted else "a time zone of the tz database"
    setting: tuple[str, ...] = ("timedatectl", "set-timezone", wanted or "Etc/UTC")
    if manager_of(facts) == "apk":  # no systemd
        setting = ("ln", "-sfn", f"/usr/share/zoneinfo/{wanted or 'Etc/UTC'}", "/etc/localtime")
    command = (setting,)
    evidence = {zone.source: zone.name} if zone.name else {"/etc/timezone, /etc/localtime": "name none"}
    if wanted and not zone.wanted_exists:
        missing = "" if zone.tzdata else ": tzdata is not installed"
        return failed(
            f"the policy's time zone {wanted!r} does not exist on this machine{missing}",
            remedy="correct timezone in the policy" if zone.tzdata else "install the package tzdata",
            expected=expected,
            observed=zone.name or "none",
            evidence=evidence,
        )
    if not zone.name:
        where = "/etc/timezone is empty" if zone.etc_timezone else "/etc/localtime is no link into zoneinfo"
        return failed(
            f"no time zone can be determined ({where}): mailcow's generator would ask for one for ever",
            remedy="set a time zone, here or as timezone in the policy",
            commands=command,
            expected=expected,
            observed="none",
            evidence=evidence,
        )
    if wanted and zone.name != wanted:
        return failed(
            f"the time zone is {zone.name} ({zone.source}), and the policy wants {wanted}",
            remedy=f"set the time zone {wanted}",
            commands=command,
            expected=expected,
            observed=zone.name,
            evidence=evidence,
        )
    if not zone.exists:
        return failed(
            f"{zone.source} names the time zone {zone.name!r}, which does not exist"
            + ("" if zone.tzdata else ": tzdata is not installed"),
            remedy="set an existing time zone" if zone.tzdata else "install the package tzdata",
            commands=command if zone.tzdata else (),
            expected=expected,
            observed=zone.name,
            evidence=evidence,
        )
    return passed(zone.name, expected=expected, evidence=evidence)


@requirement(
    "system.apparmor",
    title="AppArmor's parser where the kernel enforces AppArmor",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("system", "tools"),
    fix="system.apparmor",
)
def apparmor(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Docker loads a profile for every container as soon as the kernel has AppArmor on (mailcow#5044)."""
    system = facts.system.value
    if system.apparmor is None:
        return deferred("decided at first boot: an offline tree has no kernel")
    if not system.apparmor:
        return passed("the kernel does not enforce AppArmor")
    if system.apparmor_parser:
        return passed("on, with " + system.apparmor_parser)
    return failed(
        "the kernel enforces AppArmor, but apparmor_parser is not installed: containers will not start",
        remedy="install the package apparmor, then restart Docker",
        commands=install(facts, "apparmor"),
        expected="apparmor_parser",
        observed="not found",
        evidence={"/sys/module/apparmor/parameters/enabled": "Y"},
    )


@requirement(
    "system.selinux",
    title="Docker prepared for SELinux where it is enforcing",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("system", "docker"),
)
def selinux(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Enforcing needs the package container-selinux, and "selinux-enabled" in daemon.json (mailcow's documentation)."""
    system = facts.system.value
    if system.selinux is None:
        return deferred("decided at first boot: an offline tree has no kernel")
    if system.selinux != "enforcing":
        return passed(system.selinux)
    daemon_json = facts.docker.value.daemon_json if facts.docker.state == "value" else None
    if not system.container_selinux:
        return failed(
            "SELinux is enforcing, but container-selinux is not installed: containers are refused their own files",
            remedy="install the package container-selinux, then restart Docker",
            commands=(("dnf", "install", "-y", "container-selinux"), ("systemctl", "restart", "docker")),
            expected="container-selinux, and selinux-enabled in daemon.json",
            observed="no container-selinux",
        )
    if daemon_json is None or daemon_json.selinux_enabled is not True:
        return failed(
            'SELinux is enforcing, but /etc/docker/daemon.json does not say "selinux-enabled": true',
            remedy='add "selinux-enabled": true to /etc/docker/daemon.json, then restart Docker',
            commands=(("systemctl", "restart", "docker"),),
            expected="container-selinux, and selinux-enabled in daemon.json",
            observed="no selinux-enabled",
        )
    return passed("enforcing, and Docker is prepared for it")
