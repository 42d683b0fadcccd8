"""The mailcow install behind the gate, step by step. Killed or restarted at any point, it goes on where it was.

The caller reaches this only through an open gate. It is judged twice more: with the checkout, because only then the MTU and
the override can be, and with the mailcow.conf that the generator wrote, because that decides IPv6, and with it the open relay.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from cowgate.engine.evaluate import check
from cowgate.errors import CowgateError, GateShut, InstallError, StateError
from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.formats import env
from cowgate.formats.error import FormatError
from cowgate.install import admin, containers, dockerapi, document, hooks, images, relay, settings
from cowgate.install.log import PATH as LOG_PATH
from cowgate.install.log import Log
from cowgate.install.source import Source, shown
from cowgate.model import Phase, Status
from cowgate.report.document import printable
from cowgate.requirements.installed import own_projects
from cowgate.requirements.mailcow import leftovers

if TYPE_CHECKING:
    from cowgate.facts.docker import Project
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

SETTLING = 180.0  # seconds that the containers of an installed mailcow may take after a boot
GRACE = 60.0  # seconds that the database may take where no password has to be set, or the install failed already
CONFIGURE_TIMEOUT = 900.0  # seconds; the generator waits for two services of the net, and makes a key of 4096 bits
# Not the lock of the runs, which the checks in the middle take. The unit's install and one by hand must not meet.
LOCK = "/var/lib/cowgate/install.lock"
PROJECT = "mailcowdockerized"  # what the generator writes
MAIL_SERVICES = ("postfix-mailcow",)
DEFAULT_IN_USE = (
    f"everybody can log in as {admin.ACCOUNT} with the password {admin.DEFAULT_PASSWORD}, which every new mailcow has: change"
    " it now (cowgate does so only where it ran mailcow's generate_config.sh itself)"
)


class Surroundings(NamedTuple):
    """What the install takes from outside itself.

    `check` runs the install phase and returns its exit code; `gate` says why the gate is shut, "" for an open one. `network`
    gives the addresses that the world reaches this host by, as {4: ..., 6: ...}. `python` runs the client of the relay proof.
    """

    hostname: str
    timezone: str
    process: int
    check: Callable[[], int]
    gate: Callable[[], str]
    network: Callable[[], Mapping[int, str]]
    progress: Callable[[str], None]
    python: str = "/usr/bin/python3"


class Outcome:
    """What the summary needs; it is filled on the way."""

    def __init__(self) -> None:
        self.url = ""
        self.password_file = ""
        self.notes: list[str] = []
        self.nothing_to_do = False


class Install:
    """One install. Call perform() with the lock held."""

    def __init__(self, host: "Host", policy: "Policy", around: Surroundings) -> None:
        self.host, self.policy, self.around = host, policy, around
        self.directory = policy.install_dir
        self.conf_path = f"{self.directory}/mailcow.conf"
        self.log = Log(
            host, secrets=(policy.install.repository,) if shown(policy.install.repository) != policy.install.repository else ()
        )
        self.source = Source(host, policy, self.log, self.progress)
        self.outcome = Outcome()
        self.record = document.Record(host, self.directory, around.process)

    def progress(self, text: str) -> None:
        self.around.progress(printable(text))
        self.log.note(text)

    # -- the order -----------------------------------------------------------------------------------------------

    def perform(self) -> Outcome:
        """Everything that is still to do. Raises GateShut, InstallError, StateError, UsageError; each is in the document."""
        try:
            self._perform()
        except GateShut as error:
            self.record.fail(self.record.document.current, error, document.BLOCKED)
            raise
        except OSError as error:
            self.record.fail(self.record.document.current, StateError(f"{error.filename or 'the system'}: {error.strerror}"))
            raise
        return self.outcome

    def _perform(self) -> None:
        with self.record.step("look"):
            own = look(self.host, self.policy)
            if self.policy.install.admin_password_file and not self.host.exists(self.conf_path):
                admin.given_password(self.host, self.policy.install.admin_password_file)  # not only when everything runs
        there = [project.name for project in own if project.containers]
        if own and not there and self.record.document.finished("watch"):
            self._taken_down()
        if there and not self._is_ours():
            self._already_there(there)
            return
        with self.record.step("source"):
            self.source.bring()
            self.record.set(release=self.source.release())
        self._check("check", "checking once more, now that the checkout is there")
        self._configure()
        self._check("recheck", "checking with the mailcow.conf that the generator wrote")
        stack = self.stack()
        self._pull(stack)
        self._start(stack)
        with self.record.step("admin"):
            self._set_password(stack)
        with self.record.step("relay"):
            self._prove_relay(stack)
        with self.record.step("watch"):
            hooks.place(self.host, self.policy, self.progress)
        self.outcome.url = f"https://{self.around.hostname}{self._https_port()}/admin"
        self.record.set(state=document.DONE, error=None, next_try=None)

    def _is_ours(self) -> bool:
        """Whether the containers that are there are those of an install of ours that has not ended."""
        return self.record.document.begun("start") and not self.record.document.finished("watch")

    def _taken_down(self) -> None:
        """The install ended here once, and somebody removed the containers since, who may have moved the mail away: nobody
        starts it again unasked. Raises InstallError."""
        self.record.set(state=document.DONE, error=None, next_try=None)
        raise InstallError(
            f"mailcow is installed in {self.directory}, and its containers were removed (`docker compose down`)",
            hint=f"`docker compose --project-directory {self.directory} up -d` starts it again;"
            " after an update that was cut off, run mailcow's ./update.sh again",
        )

    def _already_there(self, projects: Sequence[str]) -> None:
        """mailcow is installed: nothing is touched, and what is not well is said."""
        self.outcome.nothing_to_do = True
        until = self.host.monotonic() + SETTLING
        while ill := [
            (c.service, c.trouble()) for name in projects for c in containers.listed(self.host, name) if c.trouble()
        ]:
            if self.host.monotonic() > until:  # right after a boot they have just been started
                break
            self.host.sleep(containers.PAUSE)
        if ill:
            error = InstallError(
                "mailcow is installed here, and not healthy: " + "; ".join(f"{service}: {what}" for service, what in ill[:5]),
                hint="see `cowgate status`, and `docker logs` of each",
            )
            self.record.fail("look", error)
            raise error
        self.record.set(state=document.DONE, error=None, next_try=None)
        self.progress(f"mailcow runs from {self.directory}: nothing to install")

    # -- the steps -----------------------------------------------------------------------------------------------

    def _check(self, name: str, text: str) -> None:
        """Run the install phase, and ask the gate. Raises GateShut."""
        with self.record.step(name):
            self.progress(text)
            code = self.around.check()
            if code != 0:
                raise GateShut("the machine is not ready for mailcow", hint="see `cowgate report`", code=code)
        self.demand_open()

    def demand_open(self) -> None:
        """Asked before everything that starts mailcow, or fetches for it. Raises GateShut."""
        shut = self.around.gate()
        if shut:
            raise GateShut(f"the gate is shut: {shut}", hint="see `cowgate report`")

    def _configure(self) -> None:
        """Run mailcow's generator, unless a whole mailcow.conf is there, and put right what it leaves wrong."""
        done = self.record.document
        if not self.host.exists(self.conf_path):
            self.record.set(generated=False)
        elif done.begun("configure") and not done.finished("configure") and not done.begun("start"):
            self.progress("an earlier install was cut off while mailcow.conf was written: it is written anew")
            self.host.remove(self.conf_path)
        if not self.host.exists(self.conf_path):
            with self.record.step("configure"):
                self._generate()
                self.record.set(generated=True)  # within the step: cut off behind it, the file would pass for somebody else's
        with self.record.step("settings"):
            if self.record.document.generated:
                self._put_right()

    def _generate(self) -> None:
        """Without a question: its environment is set and its standard input is closed."""
        branch = self.source.branch()
        environment = {
            "MAILCOW_HOSTNAME": self.around.hostname,
            "MAILCOW_TZ": self.around.timezone,
            "MAILCOW_BRANCH": branch,
            "SKIP_CLAMD": "y" if self.policy.fix.skip_clamd else "n",
            **PROMPTLESS,
        }
        self.progress(f"configuring mailcow for {self.around.hostname}, time zone {self.around.timezone}")
        if self.policy.install.mailcow.ipv6 == "auto" and 6 in self.around.network() and not self._can_ping():
            self.progress(f"mailcow will have no IPv6: {settings.NO_PING}; it would with install.mailcow.ipv6 in the policy")
        done = self.log.run(["./generate_config.sh"], cwd=self.directory, env=environment, timeout=CONFIGURE_TIMEOUT)
        if done.code != 0 or not self.conf():
            # Containers have never been there: what is left of the file is of no use to anybody.
            self.host.remove(self.conf_path)
            raise InstallError(
                f"mailcow's generate_config.sh ended with exit code {done.code} and no usable mailcow.conf",
                hint=f"what it said is in {LOG_PATH}",
            )

    def _put_right(self) -> None:
        """What the policy chose, and what the generator leaves empty or cannot know."""
        compose = "native" if len(containers.compose_command(self.host)) == 2 else "standalone"
        text = self.host.read(self.conf_path)
        generated6 = self.conf().get("ENABLE_IPV6", "").lower() != "false"
        reachable6, ping = 6 in self.around.network(), self._can_ping()
        wanted = settings.decide(self.policy, compose=compose, reachable6=reachable6, generated6=generated6, ping=ping)
        try:
            changed = settings.apply(text, wanted.values)
        except FormatError as error:
            raise InstallError(f"{self.conf_path}: {error.message}") from None
        if changed != text:
            self.host.write_atomic(self.conf_path, changed.encode("utf-8", "surrogateescape"))
        for note in wanted.notes:
            self.progress(note)
            self.outcome.notes.append(note)
        self._tell_version()

    def _can_ping(self) -> bool:
        return any(self.host.which(name) for name in ("ping6", "ping"))

    def _tell_version(self) -> None:
        """The generator names the newest release of the repository, whatever is checked out: then the web interface would not
        offer the update."""
        path = f"{self.directory}/data/web/inc/app_info.inc.php"
        text, version = self.host.read_or_none(path), self.source.version()
        if text is None or not version:
            return
        changed = settings.with_version(text, version)
        if changed != text:
            self.host.write_atomic(path, changed.encode("utf-8", "surrogateescape"))

    def _pull(self, stack: containers.Stack) -> None:
        with self.record.step("pull"):
            self.demand_open()
            images.pull_all(
                self.host,
                self.log,
                stack.images(),
                tries=self.policy.install.pull_tries,
                first_wait=self.policy.install.pull_wait,
                progress=self.progress,
                waiting=lambda error, pause: self.record.wait("pull", error, pause),
            )

    def _start(self, stack: containers.Stack) -> None:
        try:
            with self.record.step("start"):
                self.demand_open()
                self.progress("starting the containers")
                stack.start()
            with self.record.step("healthy"):
                stack.wait(self.policy.install.healthy_timeout, self.progress, lambda: self._shut_admin(stack, 0))
        except InstallError:
            self._guard(stack)
            raise

    def _guard(self, stack: containers.Stack) -> None:
        """What runs after a start that failed is on the net all the same: as safe as it would be after one that did not."""
        self._shut_admin(stack, GRACE)
        try:
            self._prove_relay(stack)
        except CowgateError as error:
            self.progress(error.message)

    def _shut_admin(self, stack: containers.Stack, wait: float) -> None:
        """Give the account its password as soon as that can be, and also where the install then fails: until it has one,
        everybody who reaches the web interface can log in."""
        if self.outcome.password_file or not self.record.document.generated:
            return
        with suppress(CowgateError):  # what is wrong is said by the step that is there for it
            running = {container.service for container in stack.containers() if container.state == "running"}
            if "mysql-mailcow" in running:
                self._set_password(stack, wait if "nginx-mailcow" in running else 0)

    def _set_password(self, stack: containers.Stack, wait: float = admin.DATABASE_WAIT) -> None:
        """Only where we made mailcow.conf: the database of a moved mailcow has its own password. What is said then is where
        the default one is in use."""
        database = next((c for c in stack.containers() if c.service == "mysql-mailcow"), None)
        if database is None:
            return
        access = admin.Database(self.host, database, self.conf())
        if self.record.document.generated:
            self.outcome.password_file = admin.set_password(
                self.host, access, self.policy.install.admin_password_file, self.progress, wait
            )
        elif admin.has_default(self.host, access, GRACE):
            self.outcome.notes.append(DEFAULT_IN_USE)

    def _prove_relay(self, stack: containers.Stack) -> None:
        """See what Postfix sees; where that is the bridge, close the mail ports again. Raises InstallError."""
        if not self.policy.install.relay_proof:
            return
        proofs = self._proofs(stack)
        self.record.set(proven={str(proof.family): proof.verdict for proof in proofs})
        for proof in proofs:
            self.progress(f"relay proof over IPv{proof.family}: {proof.verdict}" + (f" ({proof.why})" if proof.why else ""))
        relays = [proof for proof in proofs if proof.verdict == relay.BRIDGE]
        if relays:
            stack.stop(*MAIL_SERVICES)
            raise InstallError(
                f"mailcow would be an open relay over IPv{relays[0].family}: {relays[0].why};"
                " its mail server was stopped again",
                hint="see `cowgate check --only docker.open_relay`, then run `cowgate install` again",
            )

    def _proofs(self, stack: containers.Stack) -> tuple[relay.Proof, ...]:
        postfix = next((c for c in stack.containers() if c.service == "postfix-mailcow"), None)
        if postfix is None or postfix.state != "running":
            return ()
        return prove(self.host, stack.project, postfix.name, self.conf(), self.around.network(), self.around.python)

    # -- helpers -------------------------------------------------------------------------------------------------

    def stack(self) -> containers.Stack:
        project = self.conf().get("COMPOSE_PROJECT_NAME") or PROJECT
        return containers.Stack(self.host, self.directory, project, containers.compose_command(self.host), self.log)

    def conf(self) -> dict[str, str]:
        """All of mailcow.conf, passwords too: never printed. Empty where there is none."""
        return read_conf(self.host, self.conf_path)

    def _https_port(self) -> str:
        port = self.conf().get("HTTPS_PORT", "")
        return f":{port}" if port not in ("", "443") else ""


def look(host: "Host", policy: "Policy") -> tuple["Project", ...]:
    """The projects of our checkout, by its containers and volumes. Raises StateError where an install would go past a mailcow,
    or Docker does not answer.

    A waiver lets the machine be ready; it does not let an install take another mailcow's ports and volumes.
    """
    found = check(host, policy._replace(waivers=()), Phase.INSTALL, (leftovers.ROW,))
    facts, verdict = found.facts, found.rows[0].verdict
    if verdict.status is Status.PASS and not facts.docker.value.running:
        # The facts ask no daemon that they do not see running; an install asks whoever answers at Docker's socket.
        answered = facts.docker.value._replace(running=True, projects=dockerapi.projects(host))
        facts = facts.updated(Facts({"docker": Fact.of(answered)}))
        verdict = leftovers.judge(facts, policy, Phase.INSTALL)
    if verdict.status is not Status.PASS:
        raise StateError(verdict.diagnosis, hint=verdict.remedy.text if verdict.remedy else "")
    return own_projects(facts)


# git would ask, too.
PROMPTLESS = {"GIT_TERMINAL_PROMPT": "0"}


def read_conf(host: "Host", path: str) -> dict[str, str]:
    """The assignments of a mailcow.conf; where a key is set twice, the last one counts."""
    text = host.read_or_none(path)
    return {entry.key: entry.value for entry in env.parse(text)[0]} if text else {}


def prove(
    host: "Host", project: str, postfix: str, conf: Mapping[str, str], network: Mapping[int, str], python: str
) -> tuple[relay.Proof, ...]:
    """The relay proof for the addresses that SMTP is published on."""
    address, _, port = (conf.get("SMTP_PORT") or "25").rpartition(":")
    reached = dict(network)
    if address == "0.0.0.0":
        reached.pop(6, None)
    elif address == "[::]":
        reached.pop(4, None)
    elif address:
        reached = {6: address.strip("[]")} if address.startswith("[") else {4: address}
    if not reached or not port.isdecimal():
        return ()
    return relay.Prover(host, postfix, gateways(host, project), python).prove(reached, int(port))


def gateways(host: "Host", project: str) -> tuple[str, ...]:
    """The addresses of the bridge of mailcow's network."""
    network = dockerapi.ask(host, f"/networks/{project}_mailcow-network")
    configs = (network.get("IPAM") or {}).get("Config") or []
    found = [str(config["Gateway"]).partition("/")[0] for config in configs if config.get("Gateway")]
    # Docker does not tell the gateway of a subnet where nobody gave one (measured with 26.1): it is the first address.
    found += [str(ip_network(str(config["Subnet"]))[1]) for config in configs if config.get("Subnet")]
    return tuple(dict.fromkeys(found))


def perform(host: "Host", policy: "Policy", around: Surroundings) -> Outcome:
    """Install mailcow and start it. Raises BusyError where another install is under way, and what Install.perform() raises."""
    with host.locked(LOCK):
        host.set_umask(0o022)  # files that containers read as other users (mailcow#866)
        return Install(host, policy, around).perform()


__all__ = ["CowgateError", "Install", "Outcome", "Surroundings", "look", "perform", "prove", "read_conf"]
