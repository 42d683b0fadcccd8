"""What `cowgate status`, the report and the login message say about an install and a mailcow that runs. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Optional

from cowgate.install import document

if TYPE_CHECKING:
    from cowgate.install.status import Status


def age(seconds: float) -> str:
    """How long ago, as people say it."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def clock(seconds: float) -> str:
    """A time of today or tomorrow, in the machine's own time zone."""
    return time.strftime("%H:%M", time.localtime(seconds))


def install_line(told: Optional[document.Document], cut_off: bool, now: float) -> str:
    """One sentence about an install that has not ended, "" for one that has, or none."""
    if told is None or told.state == document.DONE:
        return ""
    what = document.STEPS.get(told.current, told.current)
    if cut_off:
        return f"install unfinished: cut off during {what}, {age(now - told.updated)}"
    if told.error is None or told.state == document.RUNNING:
        return f"install under way: {what}, since {clock(told.updated)}"
    line = f"install unfinished: {told.error.message}, {age(now - told.error.time)}"
    return line + (f", next try {clock(told.next_try)}" if told.next_try else "")


def screen(status: Status, now: float) -> list[str]:
    """The screen of `cowgate status`."""
    if status.mailcow == "none":
        line = install_line(status.install, status.cut_off, now)
        return ["There is no mailcow on this machine.", *([line] if line else [])]
    lines = []
    release = f", {status.release}" if status.release else ""
    if status.mailcow == "unfinished":
        lines.append(install_line(status.install, status.cut_off, now) or "mailcow is configured, and was never started")
    else:
        running = f"{status.containers} containers run"
        judged = "UNSOUND" if status.unsound else "sound, with warnings" if status.findings else "sound"
        lines.append(f"mailcow in {status.directory}{release}: {judged} ({running})")
    for finding in status.findings:
        mark = "unsound" if finding.level == "unsound" else "warning"
        lines.append(f"  {mark}: {finding.text} (since {time.strftime('%Y-%m-%d %H:%M', time.localtime(finding.since))})")
        if finding.hint:
            lines.append(f"           {finding.hint}")
    lines.append(f"  tested with mailcow {status.tested}")
    return lines
