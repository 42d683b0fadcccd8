"""Restart a unit, once, after all changes that ask for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.unit_state import UNIT_TIMEOUT, unit_state
from cowgate.changes.values import RestartUnit
from cowgate.errors import CommandFailed, FixError
from cowgate.facts.asked import validate
from cowgate.facts.docker import version_numbers
from cowgate.facts.dockerd import daemon_json, path_of, unit_options

if TYPE_CHECKING:
    from cowgate.machine.host import Host

DOCKER_SOCKET = "/var/run/docker.sock"
ANSWER_LIMIT = 64 << 20  # bytes; what Docker says about 2,000 containers has 5.5 MB


class InUse(FixError):
    """Something runs on the unit that must not end: nothing was restarted, and what was changed waits for the next restart."""


class Refused(FixError):
    """The program says that it will not start with its configuration as it is now: nothing was restarted."""


class RestartUnitAction(Action[RestartUnit]):
    """Done once, at the end, and only where the unit runs; under OpenRC the service of that name."""

    lasting = False

    @property
    def service(self) -> str:
        """The name under OpenRC; empty where that does not run."""
        return self.change.unit.rpartition(".")[0] if self.host.exists("/run/openrc/softlevel") else ""

    @property
    def target(self) -> str:
        return self.change.unit

    def summary(self) -> str:
        return f"restart {self.change.unit} ({self.change.why})"

    def describe(self, pending: Pending) -> str:
        argv = ("rc-service", self.service, "restart") if self.service else ("systemctl", "try-restart", self.change.unit)
        return f"{command_line(*argv)}  # {self.change.why}\n"

    def is_true(self, pending: Pending) -> bool:
        return False

    def verify(self) -> None:
        if not self.observe()["running"]:
            look = "look into /var/log" if self.service else f"see `journalctl -u {self.change.unit}`"
            raise FixError(
                f"{self.change.unit} does not run any more after its restart",
                hint=f"{look}; `cowgate undo` puts its configuration back",
            )

    def observe(self) -> Json:
        if self.service:
            return {"running": self.host.run(("rc-service", "--quiet", self.service, "status"), ok=None).code == 0}
        return {"running": unit_state(self.host, self.change.unit)["running"]}

    def apply(self, prior: Json, progress: Progress) -> None:
        if not prior["running"]:
            return
        obstacle = self.obstacle()
        if obstacle:
            again = f"rc-service {self.service} restart" if self.service else f"systemctl restart {self.change.unit}"
            raise InUse(obstacle, hint=f"restart it when it suits you: {again}")
        self._look_before()
        if self.service:
            self.host.run(("rc-service", self.service, "restart"), timeout=UNIT_TIMEOUT)
            return
        # docker.service allows three starts a minute: a run and its undo close together would leave it down. systemctl(1):
        # reset-failed also sets the start rate limit counter back. It fails for a unit that never failed, on old systemd.
        self.host.run(("systemctl", "reset-failed", self.change.unit), ok=None)
        self.host.run(("systemctl", "restart", self.change.unit), timeout=UNIT_TIMEOUT)

    def obstacle(self) -> str:
        """Why the unit must not be restarted now; empty when it may. One that is down has no containers to lose."""
        if self.change.unit != "docker.service" or self.change.by_hand or not self._is_up():
            return ""
        try:
            count = running_containers(self.host)
        except (OSError, CommandFailed) as error:
            return f"Docker was not restarted, because it does not tell whether containers run on it: {error}"
        many = f"{count} containers run" if count > 1 else "a container runs"
        return f"Docker was not restarted, because {many} on it" if count else ""

    def _is_up(self) -> bool:
        """Whether it runs, and does not only try to: while systemd starts a dead Docker again and again nobody answers."""
        if self.service:
            return bool(self.observe()["running"])
        asked = ("systemctl", "show", self.change.unit, "-p", "ActiveState")
        return "ActiveState=active" in self.host.run(asked, timeout=30, ok=None).out.splitlines()

    def _look_before(self) -> None:
        """Let dockerd look at the configuration that it would start with."""
        options = unit_options(self.host)
        path = path_of(options)
        if self.change.unit != "docker.service" or not self.host.exists(path):
            return
        engine = version_numbers(self.host.run(("dockerd", "--version"), ok=None).out.partition("version ")[2])
        found = daemon_json(self.host, engine, options)
        answer = validate(self.host)
        wrong = [str(problem) for problem in found.problems] or ([answer.said or "(it says why)"] if answer.refused else [])
        if wrong:
            raise Refused(
                f"Docker was not restarted, because it would not start again: {path}: {'; '.join(wrong)}",
                hint=f"correct it, and look with `dockerd --validate --config-file {path}`",
            )

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        self.apply(prior or self.observe(), progress)


def running_containers(host: Host) -> int:
    """How many containers run, whoever's they are. Raises OSError, CommandFailed where Docker does not tell."""
    status, body = host.unix_http(DOCKER_SOCKET, "/containers/json", limit=ANSWER_LIMIT)
    if status != 200:
        raise CommandFailed(f"Docker answered {status} when asked for its containers")
    try:
        containers = json.loads(body)
    except ValueError:  # cut off, where the daemon ends in the middle of its answer
        containers = None
    if not isinstance(containers, list) or not all(isinstance(container, dict) for container in containers):
        raise CommandFailed("Docker's answer about its containers cannot be read")
    return len(containers)
