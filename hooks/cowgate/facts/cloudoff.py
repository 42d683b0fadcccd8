"""Why cloud-init would not run, or not to its end, on a machine made from this image: then nothing starts the check either."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.machine.host import Host

PROGRAMS = ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init", "/bin/cloud-init")
VENDOR = ("/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system")
ETC = "/etc/systemd/system"
TARGET = "cloud-init.target"
# Its stages; 24.3 gave two of them other names. What of them is there must be able to run.
STAGES = (
    "cloud-init-local.service",
    "cloud-init-main.service",
    "cloud-init.service",
    "cloud-init-network.service",
    "cloud-config.service",
    "cloud-final.service",
    TARGET,
)
LAST = "cloud-final.service"
GENERATOR = "system-generators/cloud-init-generator"
COMMAND_LINES = (
    "/etc/default/grub",
    "/etc/kernel/cmdline",
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/grub/grub.conf",
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
)
COMMAND_LINE_DIRECTORIES = ("/etc/default/grub.d", "/boot/loader/entries", "/efi/loader/entries", "/etc/cmdline.d")
GRUB_LIMIT = 4 << 20
OFF = r"(?m)^(?![ \t]*#).*\bcloud-init=(?:\"|')?disabled\b"
_CONDITION = r"(?m)^[ \t]*((?:Condition|Assert)[A-Za-z]+)[ \t]*=[ \t]*([|!]*)[ \t]*(\S*)"


def reasons(host: Host) -> Iterator[str]:
    """Each way in which it is off, as a sentence that names the file. Raises OSError for what may not be read."""
    if not any(host.exists(path) for path in PROGRAMS):
        yield "cloud-init is not installed: nothing would start the check"
        return
    if host.exists("/etc/cloud/cloud-init.disabled"):
        yield "/etc/cloud/cloud-init.disabled keeps cloud-init from running"
    yield from _of_command_lines(host)
    yield from _of_datasources(host)
    yield from _of_units(host)


def _of_command_lines(host: Host) -> Iterator[str]:
    more = (f"{directory}/{name}" for directory in COMMAND_LINE_DIRECTORIES for name in host.listdir(directory))
    for path in (*COMMAND_LINES, *more):
        if re.search(OFF, _text(host, path)):
            yield f"{path} has cloud-init=disabled on the kernel's command line"


def _of_datasources(host: Host) -> Iterator[str]:
    """The last file that says where cloud-init looks counts, as cloud-init merges them."""
    said = ""
    directory = "/etc/cloud/cloud.cfg.d"
    for path in (
        "/etc/cloud/cloud.cfg",
        *(f"{directory}/{name}" for name in host.listdir(directory) if name.endswith(".cfg")),
    ):
        listed = datasources(_text(host, path))
        if listed is not None:
            said = path if listed == ["None"] else ""
    if said:
        yield f"{said} has None as the only datasource: cloud-init would ask nobody"


def datasources(text: str) -> list[str] | None:
    """What `datasource_list` names, on one line or on several; None where it is not there."""
    found = re.search(r"(?m)^[\"']?datasource_list[\"']?[ \t]*:[ \t]*(\[[^\]]*\]|(?:\n[ \t]*-[^\n]*)+)", text)
    if found is None:
        return None
    words = re.split(r"[\s,\[\]]+", re.sub(r"#[^\n]*", "", found[1]))
    return [word.strip("\"'") for word in words if word.strip("\"'-")]


def _of_units(host: Host) -> Iterator[str]:
    for directory in ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd"):
        if host.readlink(f"{directory}/{GENERATOR}") == "/dev/null":
            yield f"{directory}/{GENERATOR} is masked: {TARGET} would not be started"
    for unit in STAGES:
        own = f"{ETC}/{unit}"
        if host.readlink(own) == "/dev/null" or (
            host.readlink(own) is None and host.exists(own) and not _text(host, own).strip()
        ):
            yield f"{unit} is masked"
            continue
        drop_ins = (f"{place}/{name}" for place in (f"{own}.d", f"{ETC}/cloud-.service.d") for name in host.listdir(place))
        for path in (own, *(path for path in drop_ins if path.endswith(".conf"))):
            for kind, signs, value in re.findall(
                _CONDITION, _text(host, path) if host.readlink(path) is None or path != own else ""
            ):
                if not _holds(host, kind, signs, value):
                    yield f"{unit} is under a condition that is false: {path} has {kind}={signs}{value}"
    vendor = [f"{directory}/{LAST}" for directory in VENDOR if host.exists(f"{directory}/{LAST}")]
    wants = [f"{directory}/{TARGET}.wants/{LAST}" for directory in (ETC, *VENDOR)]
    if not vendor and not host.exists(f"{ETC}/{LAST}"):
        yield f"{LAST} is missing: cloud-init would not run to its end"
    elif not any(host.readlink(path) not in (None, "/dev/null") for path in wants):
        yield f"{LAST} is not enabled ({ETC}/{TARGET}.wants/{LAST} is missing)"


def _holds(host: Host, kind: str, signs: str, value: str) -> bool:
    """Whether a condition about files holds in the tree; what is asked of a running machine is not decided here."""
    if "|" in signs or not value.startswith("/") or "*" in value:
        return True
    if kind.endswith("PathExists"):
        met = host.exists(value)
    elif kind.endswith("DirectoryNotEmpty"):
        met = bool(host.listdir(value))
    elif kind.endswith("FileNotEmpty"):
        met = bool(_text(host, value))
    else:
        return True
    return met is not ("!" in signs)


def _text(host: Host, path: str) -> str:
    try:
        return host.read_or_none(path, GRUB_LIMIT) or ""
    except PermissionError:
        raise
    except OSError:  # a directory, or a link in a circle
        return ""
