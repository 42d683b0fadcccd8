"""Change the lifetimes of an address that is in use; no link goes down."""

from __future__ import annotations

import ipaddress
import json

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.values import LiveAddress
from cowgate.errors import FixError

FOREVER = 4294967295  # how iproute2 prints a lifetime without end (INFINITY_LIFE_TIME)


class LiveAddressAction(Action[LiveAddress]):
    """Only the lifetimes change: the address is never removed and the link never goes down, so connections stay."""

    lasting = False

    @property
    def target(self) -> str:
        return f"{self.change.address} on {self.change.device}"

    def summary(self) -> str:
        return f"give {self.target} the preferred lifetime {self.change.preferred}"

    def describe(self, pending: Pending) -> str:
        return command_line(*self._command(self.change.preferred, self.change.valid)) + "\n"

    def _command(self, preferred: str, valid: str) -> tuple[str, ...]:
        address, device = self.change.address, self.change.device
        return ("ip", "-6", "addr", "change", address, "dev", device, "preferred_lft", preferred, "valid_lft", valid)

    def observe(self) -> Json:

        wanted = ipaddress.ip_interface(self.change.address).ip
        done = self.host.run(("ip", "-j", "-6", "addr", "show", "dev", self.change.device))
        for interface in json.loads(done.out or "[]"):
            for entry in interface.get("addr_info", ()):
                if ipaddress.ip_address(entry["local"]) == wanted:
                    lifetimes = {name: entry[f"{name}_life_time"] for name in ("preferred", "valid")}
                    return {name: "forever" if left == FOREVER else str(left) for name, left in lifetimes.items()}
        return {"preferred": "", "valid": ""}

    def is_true(self, pending: Pending) -> bool:
        return self.unchanged_since({"preferred": self.change.preferred, "valid": self.change.valid}, self.observe())

    def apply(self, prior: Json, progress: Progress) -> None:
        if not prior["valid"]:
            raise FixError(f"{self.change.address} is no longer on {self.change.device}", hint="run it again")
        self.host.run(self._command(self.change.preferred, self.change.valid))

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        if self.observe()["valid"] and prior["valid"]:
            self.host.run(self._command(prior["preferred"], prior["valid"]))

    def unchanged_since(self, after: Json, now: Json) -> bool:
        # a lifetime runs down by itself, and the address goes at its end: only forever, none and some can be told apart
        if _lifetime(after["valid"]) == "some" and not now["valid"]:
            return True
        return all(_lifetime(after[name]) == _lifetime(now[name]) for name in ("preferred", "valid"))


def _lifetime(text: str) -> str:
    return "some" if text.isdigit() and text != "0" else text
