"""`cowgate status`: the state of the mailcow on this machine, collected, judged (drift.py), kept for everybody to read."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate import codec
from cowgate.engine.evaluate import check
from cowgate.errors import CommandFailed, CommandMissing, CowgateError, InstallError, StateError
from cowgate.install import containers, dockerapi, document, drift, relay, steps
from cowgate.install.drift import UNSOUND, Finding, Room
from cowgate.install.log import Log
from cowgate.install.source import NO_PROMPT
from cowgate.model import Phase
from cowgate.policy.model import notes
from cowgate.requirements.catalogue import all_requirements
from cowgate.requirements.installed import install_state

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

PATH = "/var/lib/cowgate/status.json"
VERSION = 1
NONE, UNFINISHED, INSTALLED = "none", "unfinished", "installed"
ASK_TIMEOUT = 30.0
CERTIFICATE = "data/assets/ssl/cert.pem"


class Status(NamedTuple):
    """One look. `mailcow` is none, unfinished or installed; `install` is the document of the install, where one is known."""

    mailcow: str
    time: float
    version: int = VERSION
    directory: str = ""
    release: str = ""
    tested: str = drift.TESTED
    findings: tuple[Finding, ...] = ()
    install: Optional[document.Document] = None
    cut_off: bool = False
    containers: int = 0

    @property
    def unsound(self) -> bool:
        return any(finding.level == UNSOUND for finding in self.findings)


def load(host: "Host") -> Optional[Status]:
    """The last look that was kept. Raises StateError for one that cannot be read."""
    try:
        text = host.read_or_none(PATH)
        found: Optional[Status] = codec.decode(Status, json.loads(text)) if text is not None else None
    except OSError as error:
        raise StateError(f"{PATH}: {error.strerror}") from None
    except ValueError:
        raise StateError(f"{PATH} is damaged", hint="`sudo cowgate status` writes it anew") from None
    return found


def keep(host: "Host", status: Status) -> None:
    """Write the look for everybody to read: it holds no secret and no foreign text."""
    text = json.dumps(codec.encode(status), indent=2, sort_keys=True) + "\n"
    host.write_atomic(PATH, text.encode("ascii"), mode=0o644)


class Look:
    """One look at the machine, as root."""

    def __init__(self, host: "Host", policy: "Policy", python: str, network: Callable[[], dict[int, str]]) -> None:
        self.host, self.python, self.network = host, python, network
        self.policy = policy._replace(probes=policy.probes._replace(enabled=False))  # a look sends nothing
        self.directory = policy.install_dir
        self.log = Log(host)
        self.conf = steps.read_conf(host, f"{self.directory}/mailcow.conf")
        self.project = self.conf.get("COMPOSE_PROJECT_NAME") or steps.PROJECT

    def whole(self, *, prove: bool = False) -> Status:
        """Everything. With `prove` also the relay proof, which connects to Postfix from a namespace beside this host."""
        evaluation = check(self.host, self.policy, Phase.AUDIT, all_requirements())
        now = self.host.now()
        mailcow = install_state(evaluation.facts)
        told = document.read(self.host)
        status = Status(mailcow, now, directory=self.directory, install=told)
        if told is not None:
            status = status._replace(cut_off=document.was_cut_off(self.host, told))
        if mailcow == NONE:
            return status
        found = of_install(told, status.cut_off)
        release = self._release()
        if mailcow == INSTALLED:
            found += drift.of_rows(evaluation.rows)
            found += drift.of_room(self.rooms())
            found += drift.of_certificate(self._certificate(), now)
            found += drift.of_waivers(notes(self.policy, datetime.fromtimestamp(now, timezone.utc).date()))
            found += drift.of_clock(now, self._commit_time())
            found += self._of_checkout(evaluation.facts)
            found += drift.of_release(release)
            running, more = self._stack(prove)
            found += more
            status = status._replace(containers=running)
        before = self._since()
        return status._replace(release=release, findings=drift.dated(found, before, now))

    def settle(self) -> None:
        """Wait a few minutes for the containers whose health check has not answered yet, as right after an update."""
        until = self.host.monotonic() + steps.SETTLING
        with suppress(StateError):
            while any(c.trouble() == containers.STARTING for c in containers.listed(self.host, self.project)):
                if self.host.monotonic() > until:
                    return
                self.host.sleep(containers.PAUSE)

    def before_update(self) -> list[Finding]:
        """What mailcow's update.sh would break on."""
        try:
            dockerapi.ask(self.host, "/version")
            docker = True
        except StateError:
            docker = False
        try:
            compose = bool(containers.compose_command(self.host))
        except CowgateError:
            compose = False
        clock = drift.of_clock(self.host.now(), self._commit_time())
        return drift.before_update(self.rooms(), docker, compose, clock)

    def _since(self) -> dict[str, float]:
        try:
            before = load(self.host)
        except StateError:
            return {}
        return {finding.id: finding.since for finding in before.findings} if before else {}

    # -- the containers ------------------------------------------------------------------------------------------

    def _stack(self, prove: bool) -> tuple[int, list[Finding]]:
        """How many containers run, and what is wrong with them."""
        found: list[Finding] = []
        try:
            listed = containers.listed(self.host, self.project)
        except StateError as error:
            return 0, [Finding("docker", UNSOUND, error.message, error.hint)]
        if not listed:
            return 0, drift.of_no_container(self.directory)
        try:
            stack = containers.Stack(self.host, self.directory, self.project, containers.compose_command(self.host), self.log)
            wanted = stack.images()
        except (InstallError, StateError, CommandFailed) as error:
            return len(listed), [Finding("compose", UNSOUND, error.message, error.hint)]
        found += drift.of_containers(containers.unwell(sorted(wanted), listed))
        found += drift.of_images(wanted, listed)
        postfix = next((c for c in listed if c.service == "postfix-mailcow"), None)
        if postfix is not None and postfix.state == "running":
            found += self._relay(postfix.name, prove)
        return sum(c.state == "running" for c in listed), found

    def _relay(self, postfix: str, prove: bool) -> list[Finding]:
        try:
            gateways = steps.gateways(self.host, self.project)
            if not prove:
                return drift.of_clients(relay.recent(self.host, postfix), gateways)
            return drift.of_proofs(steps.prove(self.host, self.project, postfix, self.conf, self.network(), self.python))
        except StateError as error:
            return [Finding("relay", UNSOUND, f"mailcow's network is not there: {error.message}", error.hint)]

    # -- facts ---------------------------------------------------------------------------------------------------

    def rooms(self) -> list[Room]:
        """The filesystems that fill up: Docker's data root, the checkout, the root."""
        try:
            root = str(dockerapi.ask(self.host, "/info").get("DockerRootDir") or "/var/lib/docker")
        except StateError:
            root = "/var/lib/docker"
        found: dict[int, Room] = {}
        for path in (root, self.directory, "/"):
            try:
                device, space = self.host.stat(path).st_dev, self.host.space(path)
            except OSError:
                continue
            found.setdefault(device, Room(path, space.total, space.free, space.inodes, space.inodes_free))
        return list(found.values())

    def _ask(self, *argv: str) -> str:
        """The output of a program that only reads, "" where it fails."""
        try:
            done = self.host.run(argv, timeout=ASK_TIMEOUT, ok=None, env=NO_PROMPT)
        except (CommandMissing, CommandFailed):
            return ""
        return done.out.strip() if done.code == 0 else ""

    def _git(self, *words: str) -> str:
        return self._ask("git", "-C", self.directory, *words)

    @staticmethod
    def _of_checkout(facts: "Facts") -> list[Finding]:
        """By git's files: git itself tells root nothing of a checkout that another user owns."""
        tree = facts.mailcow.value.tree
        return drift.of_branch(tree.branch, tree.remote_branch and tree.upstream) if tree.git else []

    def _release(self) -> str:
        return self._git("describe", "--tags", "--abbrev=0")

    def _commit_time(self) -> Optional[float]:
        said = self._git("log", "-1", "--format=%ct", "HEAD")
        return float(said) if said.isdecimal() else None

    def _certificate(self) -> Optional[float]:
        """When the certificate ends, as openssl says it: notAfter=Nov 28 12:00:00 2026 GMT."""
        said = self._ask("openssl", "x509", "-noout", "-enddate", "-in", f"{self.directory}/{CERTIFICATE}")
        try:
            end = datetime.strptime(said.partition("=")[2], "%b %d %H:%M:%S %Y GMT")
        except ValueError:
            return None
        return end.replace(tzinfo=timezone.utc).timestamp()


def of_install(told: Optional[document.Document], cut_off: bool) -> list[Finding]:
    """What the document of the install says, where the install has not ended well."""
    if told is None or told.state == document.DONE or (told.state == document.RUNNING and not cut_off):
        return []
    what = document.STEPS.get(told.current, told.current)
    if cut_off:
        return [Finding("install", UNSOUND, f"the install was cut off during {what}", "`cowgate install` goes on from there")]
    if told.error is None:
        return [Finding("install", UNSOUND, f"the install has not ended: {what}", "`cowgate install` goes on from there")]
    return [Finding("install", UNSOUND, f"the install has not ended: {told.error.message}", told.error.hint)]
