"""All commands but `gate`, which is dispatched before any of this is loaded (gate/command.py)."""

from __future__ import annotations

from cowgate.commands import (
    check,
    diff,
    dns_plan,
    explain,
    facts,
    firewall_plan,
    install,
    report,
    run,
    seal,
    status,
    undo,
    uninstall,
    user_data,
    validate,
)
from cowgate.commands import list as list_command

# In the order of the help.
COMMANDS = {
    "run": run,
    "check": check,
    "facts": facts,
    "report": report,
    "diff": diff,
    "validate": validate,
    "list": list_command,
    "explain": explain,
    "undo": undo,
    "uninstall": uninstall,
    "seal": seal,
    "dns-plan": dns_plan,
    "firewall-plan": firewall_plan,
    "user-data": user_data,
    "install": install,
    "status": status,
}
