"""A remedy's commands as this system has them: an EL has no nano, and Alpine's BusyBox no findmnt, ss or lsblk."""

from __future__ import annotations

from cowgate.model import Commands

Command = tuple[str, ...]


def spoken(commands: Commands, manager: str) -> Commands:
    """The commands with programs that are there where `manager` (apt, dnf, apk) brings the packages; others as they are."""
    if manager not in ("dnf", "apk"):
        return commands
    edited = (("vi", *words[1:]) if words[0] == "nano" else words for words in commands)
    return tuple(map(_of_busybox, edited)) if manager == "apk" else tuple(edited)


def _of_busybox(words: Command) -> Command:
    if words[0] == "findmnt":
        return ("df", "-T", words[2]) if words[1] == "-T" else ("grep", f" {words[1]} ", "/proc/mounts")
    if words[0] == "ss":
        return ("netstat", "-ltnp")
    if words[0] == "lsblk":
        return ("blkid",)
    if words[:2] == ("dmesg", "--level"):
        return ("dmesg",)
    if words[0] == "ps" and "-p" in words:
        return ("cat", f"/proc/{words[-1]}/cmdline")
    return words
