"""What the install decides, apart from the machine: settings, another mailcow, kinds of refusal, containers, relay, drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import pytest

from cowgate import codec
from cowgate.errors import InstallError, StateError
from cowgate.facts.docker import DIRECTORY_LABEL, PROJECT_LABEL, SERVICE_LABEL, SOCKET
from cowgate.formats.error import FormatError
from cowgate.install import admin, containers, cutoff, document, drift, images, relay, sentences, settings, steps
from cowgate.install.containers import Container
from cowgate.install.drift import Finding, Room
from cowgate.install.source import shown
from cowgate.install.status import Status
from tests.unit.conftest import policy_of
from tests.unit.stage import Stage, quiet

CONF = "MAILCOW_HOSTNAME=mail.example.org\nDBPASS=p\nSMTP_PORT=25\nENABLE_IPV6=false\nDOCKER_COMPOSE_VERSION=\n"
PLACE = "/opt/mailcow-dockerized"
PROJECT = "mailcowdockerized"
GIB = 1 << 30


# -- mailcow.conf ----------------------------------------------------------------------------------------------------


def decide(reachable6: bool, generated6: bool, **mailcow: Any) -> settings.Settings:
    policy = policy_of({"install": {"mailcow": mailcow}})
    return settings.decide(policy, compose="native", reachable6=reachable6, generated6=generated6)


def test_without_ipv6_in_mailcow_nobody_comes_in_over_ipv6() -> None:
    """The open relay of the real install: the host has IPv6, the generator's ping got no answer."""
    found = decide(True, False)
    assert found.values["ENABLE_IPV6"] == "false"
    assert {key: found.values[key] for key in settings.MAIL_PORTS} == {
        key: f"0.0.0.0:{port}" for key, port in settings.MAIL_PORTS.items()
    }
    assert "mail is taken over IPv4 only" in found.notes[0] and "got no answer over IPv6" in found.notes[0]
    blind = settings.decide(policy_of({}), compose="native", reachable6=True, generated6=False, ping=False)
    assert blind.values == found.values and "the command ping is not installed" in blind.notes[0]


@pytest.mark.parametrize(("reachable6", "generated6"), [(True, True), (False, False)])
def test_ports_stay_where_there_is_no_danger(reachable6: bool, generated6: bool) -> None:
    found = decide(reachable6, generated6)
    assert found.values == {"DOCKER_COMPOSE_VERSION": "native", "ENABLE_IPV6": str(generated6).lower()} and not found.notes


def test_the_policy_decides_ipv6_and_keeps_its_own_addresses() -> None:
    assert decide(True, False, ipv6="on").values == {"DOCKER_COMPOSE_VERSION": "native", "ENABLE_IPV6": "true"}
    off = decide(True, True, ipv6="off", smtp_port="203.0.113.10:25", imaps_port="[::]:993", pop_port="1110").values
    assert (off["ENABLE_IPV6"], off["SMTP_PORT"], off["IMAPS_PORT"], off["POP_PORT"]) == (
        "false",
        "203.0.113.10:25",
        "0.0.0.0:993",
        "0.0.0.0:1110",
    )


def test_what_the_policy_names_is_written_as_mailcow_writes_it() -> None:
    found = decide(False, False, skip_sogo=True, http_redirect=False, additional_san=["imap.*", "smtp.*"], https_port=8443)
    assert found.values == {
        "DOCKER_COMPOSE_VERSION": "native",
        "SKIP_SOGO": "y",
        "HTTP_REDIRECT": "n",
        "ADDITIONAL_SAN": "imap.*,smtp.*",
        "HTTPS_PORT": "8443",
        "ENABLE_IPV6": "false",
    }


def test_the_examples_of_the_policy_can_be_written() -> None:
    """imap.* could not: an install with the schema's own example failed once the generator had run."""
    schema = json.loads((Path(__file__).parents[3] / "schemas" / "policy.schema.json").read_text())
    keys = schema["properties"]["install"]["properties"]["mailcow"]["properties"]
    found = decide(True, False, **{key: about["examples"][0] for key, about in keys.items() if key != "ipv6"})
    written = settings.apply(CONF, found.values)
    assert "\nADDITIONAL_SAN=imap.*,smtp.*\n" in written and not steps.env.parse(written)[1]
    assert {key: steps.env.values(steps.env.parse(written)[0])[key] for key in found.values} == found.values


def test_only_the_named_lines_change() -> None:
    assert settings.apply(CONF, {"DOCKER_COMPOSE_VERSION": "native"}) == CONF.replace("_VERSION=", "_VERSION=native")
    with pytest.raises(FormatError):
        settings.apply(CONF, {"SMTP_PORT": "25; rm"})


def test_the_version_that_the_web_interface_shows() -> None:
    text = '<?php\n  $MAILCOW_GIT_VERSION="2026-09";\n  $MAILCOW_BRANCH="master";\n'
    assert settings.with_version(text, "2026-07a") == text.replace("2026-09", "2026-07a")


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        ("https://token:secret@git.example.org/mailcow.git", "https://git.example.org/mailcow.git"),
        ("https://git.example.org/m.git?private_token=secret", "https://git.example.org/m.git"),
        ("https://github.com/mailcow/mailcow-dockerized", "https://github.com/mailcow/mailcow-dockerized"),
    ],
)
def test_no_secret_of_an_address_is_printed(address: str, printed: str) -> None:
    assert shown(address) == printed


# -- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("toomanyrequests: You have reached your pull rate limit.", "busy"),
        ("Error response from daemon: received unexpected HTTP status: 429 Too Many Requests", "busy"),
        ("write /var/lib/docker/tmp/x: no space left on device", "full"),
        ("manifest for mariadb:10.11 not found: manifest unknown: manifest unknown", "missing"),
        ("pull access denied for mailcow/x, repository does not exist or may require 'docker login'", "missing"),
        ("unauthorized: authentication required", "denied"),
        ('Get "https://ghcr.io/v2/": x509: certificate has expired or is not yet valid', "tls"),
        ('Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host', "unreachable"),
        ("unexpected EOF", "unreachable"),
    ],
)
def test_what_a_refusal_means(said: str, kind: str) -> None:
    error = images.kind_of("ghcr.io/mailcow/postfix:1", said)
    assert error.kind == kind
    assert error.message.startswith("ghcr.io/mailcow/postfix:1 could not be pulled: ")
    assert said not in error.message + error.hint and error.exit_code == 5


# -- containers ------------------------------------------------------------------------------------------------------


def inspected(**state: Any) -> dict[str, Any]:
    restarts = state.pop("restarts", 0)
    return {
        "Id": "1",
        "Name": "/mailcowdockerized-postfix-mailcow-1",
        "RestartCount": restarts,
        "State": {"Status": "running", **state},
        "Config": {"Image": "x:1", "Labels": {SERVICE_LABEL: "postfix-mailcow"}},
    }


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ({}, ""),
        ({"Health": {"Status": "healthy"}}, ""),
        ({"Health": {"Status": "starting"}}, "starting"),
        ({"Health": {"Status": "unhealthy"}}, "unhealthy"),
        ({"Status": "restarting", "restarts": 4}, "restarting, 4 times so far"),
        ({"restarts": 3}, "restarting, 3 times so far"),
        ({"restarts": 3, "Health": {"Status": "healthy"}}, ""),
        ({"restarts": 3, "StartedAt": "1970-01-01T00:00:10.5Z"}, ""),
        ({"Status": "created"}, "was never started"),
        ({"Status": "created", "Error": "error setting rlimits", "ExitCode": 128}, "Docker could not start it"),
        ({"Status": "exited", "ExitCode": 137}, "exited, exit code 137"),
    ],
)
def test_which_containers_are_well(state: dict[str, Any], trouble: str) -> None:
    found = containers.parse(inspected(**state), 100.0)
    assert found.trouble() == trouble
    assert containers.unwell(["postfix-mailcow"], [found]) == ([("postfix-mailcow", trouble)] if trouble else [])


def test_the_cause_is_named_first() -> None:
    """mailcow's own compose file, where Docker could not start dovecot: seven that wait for it hid it."""

    def one(service: str, **state: Any) -> Container:
        return containers.parse({**inspected(**state), "Config": {"Labels": {SERVICE_LABEL: service}}}, 100.0)

    found = [
        one("acme", Status="created"),
        one("clamd", Health={"Status": "starting"}),
        one("dovecot", Status="created", Error="error setting rlimits"),
        one("unbound", Health={"Status": "healthy"}),
    ]
    named = [service for service, _ in containers.unwell(["acme", "clamd", "dovecot", "olefy", "unbound"], found)]
    assert named == ["dovecot", "clamd", "acme", "olefy"]


def test_a_service_without_a_container_is_named() -> None:
    assert containers.unwell(["clamd-mailcow"], []) == [("clamd-mailcow", "no container was made")]


# -- the admin account -----------------------------------------------------------------------------------------------


def test_the_password_is_kept_as_mailcow_keeps_it() -> None:
    stored = admin.hashed("Ahem, a password", b"12345678")
    assert stored.startswith("{SSHA256}") and admin.fits("Ahem, a password", stored)
    assert not admin.fits("ahem, a password", stored)
    for other in ("{BLF-CRYPT}$2y$10$abc", "{SSHA256}%%%", "", "{SSHA256}"):
        assert not admin.fits("moohoo", other)


def test_a_password_that_cannot_be_used_is_told_before_anything_else(tmp_path: Path) -> None:
    """It was told when everything ran already, with the default password."""
    host = unseen(tmp_path)
    around = steps.Surroundings("mail.example.org", "UTC", 1, untouched, untouched, untouched, quiet)
    policy = policy_of({"install": {"admin_password_file": "/root/none"}})
    with pytest.raises(StateError, match="/root/none: No such file"):
        steps.Install(host, policy, around).perform()
    assert host.ran == []


class Accounts:
    """A database whose tables come a while after it."""

    def __init__(self, *stored: Optional[str]) -> None:
        self.answers = [*stored]

    def admin(self) -> Optional[str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_default_password_that_is_in_use(tmp_path: Path) -> None:
    host, default = unseen(tmp_path), admin.hashed("moohoo", b"12345678")
    assert admin.has_default(host, Accounts(None, default), 60)  # type: ignore[arg-type]
    for other in (admin.hashed("own", b"12345678"), "", None):
        assert not admin.has_default(host, Accounts(other), 60)  # type: ignore[arg-type]


def test_the_file_that_has_the_password(tmp_path: Path) -> None:
    host, stored = unseen(tmp_path), admin.hashed("a password", b"12345678")
    assert admin.file_of(host, "/root/mine", stored) == ""
    host.write_atomic(admin.PASSWORD_FILE, b"another\n")
    host.write_atomic("/root/mine", b"a password\nand more\n")
    assert admin.file_of(host, "/root/mine", stored) == "/root/mine" and admin.file_of(host, "", stored) == ""


# -- the relay proof -------------------------------------------------------------------------------------------------


def test_the_lines_of_postfix() -> None:
    log = (
        "Nov 28 23:00:00 mail postfix/postscreen[374]: CONNECT from [198.18.213.2]:51262 to [172.22.1.253]:25\n"
        "Nov 28 23:00:01 mail postfix/smtps/smtpd[380]: connect from unknown[2001:db8:213::2]\n"
        "Nov 28 23:00:01 mail postfix/smtpd[380]: disconnect from unknown[192.0.2.1]\n"
        "CONNECT from [::ffff:172.22.1.1]:1 to [172.22.1.253]:25\n"
    )
    assert relay.clients(log) == ["198.18.213.2", "2001:db8:213::2", "172.22.1.1"]


@pytest.mark.parametrize(
    ("family", "seen", "verdict"),
    [
        (4, ["198.18.213.2"], relay.OWN),
        (6, ["172.22.1.1"], relay.BRIDGE),
        (6, ["fd4d::1", "2001:db8:213::2"], relay.OWN),
        (4, ["172.22.1.9"], relay.UNSEEN),
        (4, [], relay.UNSEEN),
    ],
)
def test_what_the_proof_proves(family: int, seen: list[str], verdict: str) -> None:
    assert relay.judge(family, seen, ("172.22.1.1", "fd4d::1")).verdict == verdict


class Networks:
    """Docker's answer about mailcow's network, as 26.1 gives it where nobody named a gateway."""

    def unix_http(self, *_: object, **__: object) -> tuple[int, bytes]:
        configs = [{"Subnet": "172.22.1.0/24"}, {"Subnet": "fd4d:6169:6c63:6f77::/64", "Gateway": "fd4d:6169:6c63:6f77::1"}]
        return 200, json.dumps({"IPAM": {"Config": configs}}).encode()


def test_the_bridge_is_known_where_docker_does_not_tell_its_address() -> None:
    """Found on the wire: without it a real relay over IPv6 was not seen."""
    assert set(steps.gateways(Networks(), PROJECT)) == {"172.22.1.1", "fd4d:6169:6c63:6f77::1"}  # type: ignore[arg-type]


# -- another mailcow -------------------------------------------------------------------------------------------------


class Unseen(Stage):
    """A daemon that answers at Docker's socket, and whose process the facts do not see: docker.engine is waived there."""

    containers: str = "[]"
    volumes: str = '{"Volumes": null}'

    def unix_http(self, path: str, target: str, **_: object) -> tuple[int, bytes]:
        assert path == SOCKET
        answers = {"/containers/json": self.containers, "/volumes": self.volumes}
        return 200, answers[target.partition("?")[0]].encode()


def labelled(directory: str) -> str:
    labels = {PROJECT_LABEL: PROJECT, SERVICE_LABEL: "postfix-mailcow", DIRECTORY_LABEL: directory}
    return json.dumps([{"Id": "1", "State": "exited", "Labels": labels}])


VOLUME = json.dumps({"Volumes": [{"Name": f"{PROJECT}_vmail-vol-1"}]})
WHOLE = f"{CONF}DBROOT=p\nREDISPASS=p\nCOMPOSE_PROJECT_NAME={PROJECT}\n"


def unseen(root: Path, conf: str = "", **answers: str) -> Unseen:
    for directory in (PLACE, "/var/lib/cowgate", "/root"):
        (root / directory[1:]).mkdir(parents=True)
    if conf:
        (root / PLACE[1:] / "mailcow.conf").write_text(conf)
    host = Unseen(root)
    vars(host).update(answers)
    return host


def looked(root: Path, conf: str = "", **answers: str) -> list[tuple[str, int]]:
    """Project and number of its containers."""
    return [(found.name, found.containers) for found in steps.look(unseen(root, conf, **answers), policy_of({}))]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"containers": labelled("/srv/other")}, "a mailcow of /srv/other is left in Docker"),
        ({"volumes": VOLUME}, "1 volume of the project"),
        ({"containers": labelled(PLACE)}, "1 container of the project"),  # its mailcow.conf is gone
    ],
)
def test_a_mailcow_in_a_daemon_that_the_facts_do_not_see(tmp_path: Path, seen: dict[str, str], said: str) -> None:
    """Only its own containers were asked for: an install took over another mailcow's volumes and ports."""
    with pytest.raises(StateError, match=said):
        looked(tmp_path, **seen)


def test_nothing_and_its_own_mailcow_in_a_daemon_that_the_facts_do_not_see(tmp_path: Path) -> None:
    assert looked(tmp_path / "empty") == []
    assert looked(tmp_path / "own", WHOLE, containers=labelled(PLACE)) == [(PROJECT, 1)]
    other = labelled(PLACE).replace(PROJECT, "mailcow")  # as Compose named it before mailcow.conf did
    assert looked(tmp_path / "renamed", WHOLE, containers=other) == [("mailcow", 1)]


def untouched(*_: object) -> Any:
    raise AssertionError("the machine is to be left alone")


def test_a_mailcow_that_somebody_took_down_stays_down(tmp_path: Path) -> None:
    """`docker compose down`, on a machine whose mail has moved away, say: the next boot's install started it again."""
    host = unseen(tmp_path, WHOLE, volumes=VOLUME)
    steps_ = tuple(document.Step(name, 1.0, 2.0) for name in document.STEPS)
    told = document.Document(PLACE, state=document.DONE, steps=steps_, generated=True)
    host.write_atomic(document.PATH, json.dumps(codec.encode(told)).encode())
    around = steps.Surroundings("mail.example.org", "UTC", 1, untouched, untouched, untouched, quiet)
    for _ in range(2):
        with pytest.raises(InstallError, match="its containers were removed"):
            steps.Install(host, policy_of({}), around).perform()
    after = document.read(host)
    assert after is not None and after.state == document.DONE and after.finished("watch") and host.ran == []


# -- drift -----------------------------------------------------------------------------------------------------------


def test_the_disk_and_the_inodes() -> None:
    rooms = [
        Room("/a", 40 * GIB, 30 * GIB, 1000, 900),
        Room("/b", 40 * GIB, 4 * GIB),
        Room("/c", 40 * GIB, GIB // 2, 1000, 15),
    ]
    found = [(finding.id, finding.level) for finding in drift.of_room(rooms)]
    assert found == [("disk./b", "warning"), ("disk./c", "unsound"), ("inodes./c", "unsound")]


def test_the_certificate() -> None:
    day = 86400.0
    assert drift.of_certificate(None, 0) == [] and drift.of_certificate(30 * day, 0) == []
    assert [f.level for f in drift.of_certificate(13 * day, 0)] == ["warning"]
    assert [f.level for f in drift.of_certificate(day, 2 * day)] == ["unsound"]


def test_a_container_that_was_just_started_is_not_sick() -> None:
    """Found with mailcow's own update.sh: it ends before clamd's first health check, and status called that unsound."""
    found = drift.of_containers([("clamd-mailcow", "starting"), ("olefy-mailcow", "exited, exit code 1")])
    assert [finding.level for finding in found] == ["warning", "unsound"]


def test_an_update_that_was_not_finished() -> None:
    old = Container("1", "c", "nginx-mailcow", "ghcr.io/mailcow/nginx:1.0", "running")
    assert drift.of_images({"nginx-mailcow": "ghcr.io/mailcow/nginx:1.0"}, [old]) == []
    (found,) = drift.of_images({"nginx-mailcow": "ghcr.io/mailcow/nginx:1.1"}, [old])
    assert "nginx-mailcow runs ghcr.io/mailcow/nginx:1.0" in found.text


@pytest.mark.parametrize(
    ("release", "new"), [("2026-07a", False), ("2026-05c", False), ("2026-07b", True), ("2026-09", True), ("x", False)]
)
def test_beyond_what_was_tested(release: str, new: bool) -> None:
    assert drift.beyond(release) == new


def test_other_drifts() -> None:
    assert drift.of_branch("master", True) == [] and "detached" in drift.of_branch("", False)[0].text
    assert drift.of_clock(1e9, 1.5e9)[0].level == "unsound" and drift.of_clock(1.6e9, 1.5e9) == []
    assert drift.of_clients(["192.0.2.1", "172.22.1.1"], ["172.22.1.1"])[0].id == "relay.log"
    assert drift.of_clients(["192.0.2.1"], ["172.22.1.1"]) == []
    (waiver,) = drift.of_waivers(["the waiver for resources.disk ended on 2026-01-01 and does not count"])
    assert waiver.id == "waiver.resources.disk"


def test_only_what_breaks_the_update_itself_stops_it() -> None:
    good = Room("/", 40 * GIB, 30 * GIB, 1000, 900)
    assert drift.before_update([good], True, True, []) == []
    assert [f.id for f in drift.before_update([Room("/", 40 * GIB, GIB)], True, True, [])] == ["disk./"]
    assert [f.id for f in drift.before_update([good], False, False, [])] == ["docker"]
    assert [f.id for f in drift.before_update([good], True, False, drift.of_clock(1e9, 1.5e9))] == ["clock", "compose"]


def test_since_when() -> None:
    found = drift.dated([Finding("b", "warning", "new"), Finding("a", "unsound", "old")], {"a": 5.0}, 9.0)
    assert [(f.id, f.since) for f in found] == [("a", 5.0), ("b", 9.0)]


# -- documents and sentences -----------------------------------------------------------------------------------------


def test_a_damaged_document_is_told() -> None:
    told = document.parse("{")
    assert told.state == "failed" and told.error is not None and "damaged" in told.error.message


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for directory in (PLACE, "/var/lib/cowgate", "/proc/sys/kernel/random"):
        (tmp_path / directory[1:]).mkdir(parents=True)
    return Stage(tmp_path)


def cut_off(configure: Optional[bool], *others: document.Step, at: float = -5.0, **more: Any) -> document.Document:
    """A document of a process that is gone; `configure` is whether that step ended. Times: seconds after mailcow.conf's."""
    first = () if configure is None else (document.Step("configure", at, at + 1 if configure else None),)
    return document.Document(PLACE, process=2**30, boot="earlier", steps=(*first, *others), updated=at + 4, **more)


def begun(name: str) -> document.Step:
    return document.Step(name, -2.0)


def ended(name: str) -> document.Step:
    return document.Step(name, -2.0, -1.0)


def left_behind(stage: Stage, told: document.Document) -> None:
    """A mailcow.conf, and this document beside it."""
    stage.write_atomic(f"{PLACE}/mailcow.conf", CONF.encode())
    zero = stage.stat(f"{PLACE}/mailcow.conf").st_ctime
    steps = tuple(step._replace(started=zero + step.started) for step in told.steps)
    told = told._replace(steps=steps, updated=zero + told.updated)
    stage.write_atomic(document.PATH, json.dumps(codec.encode(told)).encode())


@pytest.mark.parametrize(
    ("told", "removed"),
    [
        (cut_off(False), True),
        (cut_off(True), True),
        (cut_off(True, begun("settings")), True),
        (cut_off(True, ended("settings")), False),  # whole
        (cut_off(True, begun("settings"), ended("start")), False),  # containers may use it
        (cut_off(None, begun("settings")), False),  # an administrator brought it
        (cut_off(False, at=60.0), False),  # it is older than the generator's start
        (cut_off(False, at=-5000.0), False),  # it came long after the cut
        (cut_off(False, state="failed"), False),  # told, and in somebody's hands
        (cut_off(False)._replace(directory="/srv/other"), False),
    ],
)
def test_only_a_half_made_mailcow_conf_of_a_cut_off_install_is_removed(
    stage: Stage, told: document.Document, removed: bool
) -> None:
    left_behind(stage, told)
    cutoff.discard(stage, PLACE, quiet)
    assert stage.exists(f"{PLACE}/mailcow.conf") is not removed


def test_a_mailcow_conf_that_is_being_made_stays(stage: Stage) -> None:
    stage.write_atomic(document.BOOT_ID, b"this\n")
    stage.write_atomic("/proc/77", b"")
    left_behind(stage, cut_off(False)._replace(boot="this", process=77))
    cutoff.discard(stage, PLACE, quiet)
    assert stage.exists(f"{PLACE}/mailcow.conf")


def test_the_screen() -> None:
    step = document.Step("pull", 100.0)
    trouble = document.Trouble("pull", "mariadb:10.11 could not be pulled", "wait", 100.0)
    told = document.Document(PLACE, state="waiting", steps=(step,), error=trouble, next_try=400.0)
    (line, *_) = sentences.screen(Status("unfinished", 220.0, install=told), 220.0)
    assert line == f"install unfinished: mariadb:10.11 could not be pulled, 2 minutes ago, next try {sentences.clock(400.0)}"
    assert sentences.screen(Status("none", 1.0), 1.0) == ["There is no mailcow on this machine."]
    whole = Status("installed", 9.0, directory=PLACE, findings=(Finding("a", "unsound", "text", "hint", 1.0),), containers=18)
    assert "UNSOUND (18 containers run)" in sentences.screen(whole, 9.0)[0]
    assert codec.decode(Status, json.loads(json.dumps(codec.encode(whole)))) == whole
