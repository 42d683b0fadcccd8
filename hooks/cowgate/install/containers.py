"""mailcow's containers: what Compose has planned, what Docker has running, and whether each of them is well."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from cowgate.errors import InstallError, StateError
from cowgate.facts.docker import PROJECT_LABEL, SERVICE_LABEL
from cowgate.install.dockerapi import ask
from cowgate.install.log import PATH as LOG_PATH

if TYPE_CHECKING:
    from cowgate.install.log import Log
    from cowgate.machine.host import Completed, Host

# Seconds.
QUESTION_TIMEOUT = 60.0
START_TIMEOUT = 1800.0
STOP_TIMEOUT = 300.0
PAUSE = 3.0
SETTLED = 15.0  # a container without a health check counts when it ran this long in one piece
# What is named last, because it is no cause: who waits for another container, and who has only just begun.
STARTING = "starting"  # Docker's word for a container whose health check has not given an answer yet
LATER = (STARTING, "was never started", "no container was made")
FLAPPING = 30.0  # seconds that a container which was restarted often has to run before it is believed
TAIL = "40"  # lines of a container's log that are kept when it is not well


def compose_command(host: "Host") -> tuple[str, ...]:
    """The Compose to use: the plugin of the docker command, else the standalone one. Raises StateError without one."""
    if host.which("docker"):
        found = host.run(["docker", "compose", "version", "--short"], ok=None, timeout=QUESTION_TIMEOUT)
        if found.code == 0:
            return ("docker", "compose")
    if host.which("docker-compose"):
        return ("docker-compose",)
    raise StateError("neither `docker compose` nor docker-compose is installed", hint="see `cowgate explain docker.compose`")


class Container(NamedTuple):
    """One container of the project. `health` is "" where its image has no health check, `up` how many seconds it runs,
    `refused` whether Docker tried to start it and could not."""

    id: str
    name: str
    service: str
    image: str
    state: str
    health: str = ""
    restarts: int = 0
    started: str = ""
    exit_code: int = 0
    up: float = 0.0
    refused: bool = False

    def trouble(self) -> str:
        """What is wrong with it, "" for one that is well."""
        # The count is never set back: who runs for a while has recovered.
        flaps = self.state == "running" and self.restarts >= 3 and self.health != "healthy" and self.up < FLAPPING
        if self.state == "restarting" or flaps:
            return f"restarting, {self.restarts} times so far"
        if self.state == "created":
            return "Docker could not start it" if self.refused else "was never started"
        if self.state != "running":
            return f"{self.state}, exit code {self.exit_code}"
        return "" if self.health in ("", "healthy") else self.health


def parse(inspected: Mapping[str, Any], now: float) -> Container:
    """A container from Docker's own description of it, at `now` (seconds since 1970)."""
    state, config = inspected.get("State") or {}, inspected.get("Config") or {}
    labels = config.get("Labels") or {}
    return Container(
        id=str(inspected.get("Id", "")),
        name=str(inspected.get("Name", "")).lstrip("/"),
        service=str(labels.get(SERVICE_LABEL, "")),
        image=str(config.get("Image", "")),
        state=str(state.get("Status", "")),
        health=str((state.get("Health") or {}).get("Status", "")).replace("none", ""),
        restarts=int(inspected.get("RestartCount") or 0),
        started=str(state.get("StartedAt", "")),
        exit_code=int(state.get("ExitCode") or 0),
        up=now - _seconds(str(state.get("StartedAt", "")), now),
        refused=bool(state.get("Error")),
    )


def _seconds(stamp: str, otherwise: float) -> float:
    """Docker's 2026-11-29T00:02:03.123456789Z as seconds since 1970."""
    try:
        return datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return otherwise


def listed(host: "Host", project: str) -> tuple[Container, ...]:
    """The containers of a project, those that do not run too, by service. Raises StateError."""
    filters = quote(json.dumps({"label": [f"{PROJECT_LABEL}={project}"]}))
    found = []
    for entry in ask(host, f"/containers/json?all=1&filters={filters}"):
        try:
            found.append(parse(ask(host, f"/containers/{entry['Id']}/json"), host.now()))
        except StateError:  # it went away between the two questions
            continue
    return tuple(sorted(found, key=lambda container: (container.service, container.name)))


def unwell(services: Iterable[str], containers: Sequence[Container]) -> list[tuple[str, str]]:
    """(service, what is wrong) of each service that is not well. Pure."""
    by_service: dict[str, list[Container]] = {}
    for container in containers:
        by_service.setdefault(container.service, []).append(container)
    found = []
    for service in services:
        if service not in by_service:
            found.append((service, "no container was made"))
        found += [(service, trouble) for c in by_service.get(service, ()) if (trouble := c.trouble())]
    return sorted(found, key=lambda entry: LATER.index(entry[1]) + 1 if entry[1] in LATER else 0)


class Stack:
    """Compose in one checkout. Every call passes cowgate's own lock: the caller has asked the gate."""

    def __init__(self, host: "Host", directory: str, project: str, command: tuple[str, ...], log: "Log") -> None:
        self.host, self.directory, self.project, self.command, self.log = host, directory, project, command, log
        self._model: dict[str, Any] = {}

    def compose(self, *words: str, timeout: float) -> "Completed":
        return self.log.run([*self.command, *words], timeout=timeout, cwd=self.directory, env={"COWGATE_READY": "1"})

    def model(self) -> dict[str, Any]:
        """What Compose makes of the files. It holds passwords: nothing of it is printed. Raises InstallError."""
        if not self._model:
            argv = [*self.command, "config", "--format", "json"]
            done = self.host.run(argv, timeout=QUESTION_TIMEOUT, cwd=self.directory, env={"COWGATE_READY": "1"}, ok=None)
            try:
                self._model = json.loads(done.out) if done.code == 0 else {}
            except ValueError:
                self._model = {}
            if not self._model.get("services"):
                raise InstallError(
                    f"Compose refuses the files in {self.directory} (exit code {done.code})",
                    hint=f"see `docker compose --project-directory {self.directory} config --quiet`",
                )
        return self._model

    def images(self) -> dict[str, str]:
        """Service to image, of those that Compose may pull."""
        services = sorted(self.model()["services"].items())
        return {name: str(entry.get("image", "")) for name, entry in services if entry.get("pull_policy") != "never"}

    def containers(self) -> tuple[Container, ...]:
        return listed(self.host, self.project)

    def start(self) -> None:
        """Make and start everything. Raises InstallError, with the containers that are not well named."""
        done = self.compose("up", "-d", "--quiet-pull", timeout=START_TIMEOUT)
        if done.code != 0:
            raise self.failure(f"`docker compose up` failed with exit code {done.code}")

    def stop(self, *services: str) -> None:
        """Stop services and keep them stopped. Raises InstallError."""
        done = self.compose("stop", *services, timeout=STOP_TIMEOUT)
        if done.code != 0:
            raise InstallError(f"{', '.join(services)} could not be stopped", hint="see `docker ps`")

    def wait(self, timeout: float, progress: Callable[[str], None], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until every service's container is well, for at most `timeout` seconds, and call `meanwhile` now and then.
        Raises InstallError."""
        services = sorted(self.model()["services"])
        until = self.host.monotonic() + timeout
        since: dict[tuple[str, str, int], float] = {}
        told = ""
        while True:
            now = self.host.monotonic()
            containers = self.containers()
            ill = unwell(services, containers)
            young = [c.service for c in containers if not c.health and self._is_young(c, since, now)]
            if not ill and not young:
                return
            said = ", ".join(f"{service} ({what})" for service, what in ill) or f"{len(young)} of them started just now"
            if said != told:
                progress(f"{len(services) - len({s for s, _ in ill})} of {len(services)} containers are up: {said}")
                told = said
            if now > until:
                raise self.failure(f"after {timeout:.0f} s mailcow is not healthy")
            meanwhile()
            self.host.sleep(PAUSE)

    @staticmethod
    def _is_young(container: Container, since: dict[tuple[str, str, int], float], now: float) -> bool:
        """Whether it has not yet run long enough in one piece to be believed."""
        key = (container.id, container.started, container.restarts)
        return now - since.setdefault(key, now) < SETTLED

    def failure(self, what: str) -> InstallError:
        """The error that names each container that is not well; their last lines go to the log."""
        try:
            containers = self.containers()
            ill = unwell(sorted(self.model()["services"]), containers)
        except (StateError, InstallError) as error:
            return InstallError(f"{what}; {error.message}", hint=error.hint)
        named = {service for service, _ in ill}
        for container in containers:
            if container.service in named:
                self.log.run(["docker", "logs", "--tail", TAIL, container.name], timeout=QUESTION_TIMEOUT)
        said = "; ".join(f"{service}: {trouble}" for service, trouble in ill[:5])
        more = f" and {len(ill) - 5} more" if len(ill) > 5 else ""
        return InstallError(
            f"{what}: {said}{more}" if ill else what,
            hint=f"the last lines of each are in {LOG_PATH}; `cowgate install` goes on from here",
        )
