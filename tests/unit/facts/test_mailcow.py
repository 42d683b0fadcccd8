"""What is read from a mailcow checkout, on real directories; docker is a small script that answers like Compose."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest

from cowgate import codec
from cowgate.errors import CommandMissing
from cowgate.facts.collection import Facts
from cowgate.facts.mailcow import (
    Finding,
    Mailcow,
    Override,
    collect,
    parse_compose_mtu,
    parse_conf,
    parse_networks,
    parse_override,
)
from cowgate.machine.host import Completed, Host
from cowgate.policy.model import Policy

COMPOSE = """\
services:
  unbound-mailcow:
    image: lab/unbound
    networks:
      mailcow-network:
        aliases: [unbound]

networks:
  # the only one
  mailcow-network:
    driver: bridge
    driver_opts:
      com.docker.network.bridge.name: br-mailcow

volumes:
  vmail-vol-1:
"""
MTU = 'networks:\n  mailcow-network:\n    driver_opts:\n      com.docker.network.driver.mtu: "1450"\n'
PROXY = "services:\n  unbound-mailcow:\n    labels: [x]\n"


class ComposeHost(Host):
    """The live host, whose docker answers as told: a code with what it prints, or None where it is not installed."""

    def __init__(self, answers: Mapping[str, Optional[tuple[int, str]]]) -> None:
        super().__init__("/")
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 10.0,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        ok: Sequence[int] | None = (0,),
    ) -> Completed:
        self.asked.append(tuple(argv))
        assert env == {"COWGATE_READY": "1"} and os.path.exists(f"{cwd}/docker-compose.yml")
        assert timeout <= 10 and input is None and ok is None
        answer = self.answers.get(argv[0])
        if answer is None:
            raise CommandMissing(f"{argv[0]} is not installed")
        return Completed(tuple(argv), answer[0], "", answer[1])


def checkout(root: Path, **files: str) -> Policy:
    directory = root / "mailcow"
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(COMPOSE)
    (directory / ".env").symlink_to("mailcow.conf")
    names = {"conf": "mailcow.conf", "override": "docker-compose.override.yml", "compose": "docker-compose.yml"}
    for name, text in files.items():
        (directory / names[name]).write_text(text)
    return Policy(install_dir=str(directory))


def collected(host: Host, policy: Policy) -> Mailcow:
    value = collect(host, policy).value
    assert Facts.from_json(Facts({"mailcow": collect(host, policy)}).to_json()).mailcow.value == value
    return value


def test_nothing_there(tmp_path: Path) -> None:
    found = collected(Host(), Policy(install_dir=f"{tmp_path}/none"))
    assert found == Mailcow(install_dir=f"{tmp_path}/none")
    assert not found.installed and not found.checkout and not found.present


def test_a_directory_without_checkout(tmp_path: Path) -> None:
    found = collected(Host(), Policy(install_dir=str(tmp_path)))
    assert found.present and not found.checkout


def test_a_fresh_checkout(tmp_path: Path) -> None:
    found = collected(Host(), checkout(tmp_path))
    assert found.checkout and not found.installed and found.env_link == "mailcow.conf"
    assert found.override == Override() and found.conf is None and found.compose_mtu is None
    assert found.setting("SMTP_PORT") == "25" and found.ipv6 and found.network_name == "mailcowdockerized_mailcow-network"


def test_an_offline_tree(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    policy = checkout(tmp_path / "opt", conf="HTTP_PORT=8080\n", override=MTU + PROXY)
    inside = Policy(install_dir=policy.install_dir[len(str(tmp_path)) :])
    found = collected(Host(str(tmp_path)), inside)
    assert found.conf == {"HTTP_PORT": "8080"} and found.installed
    assert found.override.mtu == "1450" and found.override.compose_error is None, "nothing is run for an offline tree"


def test_secrets_stay_out(tmp_path: Path) -> None:
    text = "DBPASS=hunter2hunter2\nREDISPASS='s3cret value'\nAPI_KEY=abc-def\nHTTP_PORT=8080\nbroken hunter2hunter2\n"
    override = "services:\n  a:\n    environment: [PW=hunter2hunter2]\n" + MTU
    host = ComposeHost({"docker": (15, 'WARN level=warning\ninvalid "hunter2hunter2" in s3cret value\n')})
    found = collected(host, checkout(tmp_path, conf=text, override=override))
    assert found.conf == {"HTTP_PORT": "8080"}
    assert found.findings == (Finding(5, "", "is neither KEY=value nor a comment", True),)
    assert found.override.compose_error == 'invalid "(the value of DBPASS)" in (the value of REDISPASS)'
    assert "hunter2" not in str(codec.encode(found)) and "s3cret" not in str(codec.encode(found))


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"docker": (0, "")}, ""),
        ({"docker": (15, "a: b\nservice x is wrong\n")}, "service x is wrong"),
        ({"docker": (1, "")}, "exit code 1"),
        ({"docker": (1, "docker: 'compose' is not a docker command.\n"), "docker-compose": (0, "")}, ""),
        ({"docker": (125, "unknown flag: --quiet\n\nUsage:  docker\n"), "docker-compose": (0, "")}, ""),
        ({"docker": None, "docker-compose": (1, "wrong")}, "wrong"),
        ({}, None),
    ],
)
def test_compose_is_asked(tmp_path: Path, answers: dict[str, Optional[tuple[int, str]]], error: Optional[str]) -> None:
    found = collected(ComposeHost(answers), checkout(tmp_path, override=MTU + PROXY))
    assert found.override.compose_error == error


def test_compose_is_not_asked_about_our_own_lines(tmp_path: Path) -> None:
    host = ComposeHost({})
    assert collected(host, checkout(tmp_path, override=MTU)).override.compose_error is None
    assert host.asked == []


def test_compose_is_asked_about_what_we_can_not_read(tmp_path: Path) -> None:
    found = collected(ComposeHost({"docker": (0, "")}), checkout(tmp_path, override="x-a: 1\n---\nx-b: 2\n"))
    assert (found.override.state, found.override.line, found.override.compose_error) == ("refused", 2, "")
    assert not found.override.understood


def test_a_huge_file(tmp_path: Path) -> None:
    policy = checkout(tmp_path)
    with open(f"{policy.install_dir}/mailcow.conf", "wb") as out:
        out.truncate(100 << 20)
    found = collected(Host(), policy)
    assert (found.conf_state, found.conf) == ("broken", None)
    assert found.conf_reason == "it can not be read: larger than 1048576 bytes"
    assert found.installed


def test_a_binary_file(tmp_path: Path) -> None:
    found = collected(Host(), checkout(tmp_path, conf="A=1\nB=\0\n", override="\0"))
    assert (found.conf_state, found.conf_reason) == ("broken", "line 2 holds a NUL byte: it is not a text file")
    assert found.override.state == "broken"


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    policy = checkout(tmp_path)
    os.mkdir(f"{policy.install_dir}/mailcow.conf")
    os.mkfifo(f"{policy.install_dir}/docker-compose.override.yml")
    found = collected(Host(), policy)
    assert (found.conf_state, found.override.state) == ("broken", "broken")
    assert "not a regular file" in found.conf_reason


class ShutHost(Host):
    """A host where some paths are not for us."""

    def __init__(self, *shut: str) -> None:
        super().__init__("/")
        self.shut = shut

    def read(self, path: str, limit: int = 1 << 20) -> str:
        if path.endswith(self.shut):
            raise PermissionError(13, "Permission denied", path)
        return super().read(path, limit)

    def exists(self, path: str) -> bool:
        if path.startswith(self.shut):
            raise PermissionError(13, "Permission denied", path)
        return super().exists(path)


def test_not_root(tmp_path: Path) -> None:
    policy = checkout(tmp_path, conf="HTTP_PORT=8080\n", override=MTU + PROXY)
    found = collected(ShutHost("mailcow.conf", "override.yml"), policy)
    assert (found.conf_state, found.conf_reason) == ("unreadable", "only root may read it")
    assert (found.override.state, found.override.reason) == ("unreadable", "only root may read it")
    assert found.installed
    hidden = collect(ShutHost(str(tmp_path)), policy)
    assert (hidden.state, hidden.reason) == ("unreadable", f"{policy.install_dir}: Permission denied")


def test_conf_values() -> None:
    everything, kept, findings = parse_conf("SMTP_PORT=2525 # why\nDBPASS=x\nTZ='Europe/Berlin'\nSMTP_PORT=25\n")
    assert everything["DBPASS"] == "x" and kept == {"SMTP_PORT": "25", "TZ": "Europe/Berlin"}
    assert findings == (Finding(4, "SMTP_PORT", "is set on line 1 too; the last one counts", False),)
    assert parse_conf("HTTP_BIND=\udcff\n")[1] == {"HTTP_BIND": "\ufffd"}, "a report must be able to hold it"
    off = Mailcow("/x", conf_state="ok", conf={"ENABLE_IPV6": "False", "COMPOSE_PROJECT_NAME": "mc"})
    assert not off.ipv6 and off.network_name == "mc_mailcow-network"


@pytest.mark.parametrize(
    ("text", "values", "mtu"),
    [
        (MTU, {}, "1450"),
        (MTU.replace('"1450"', "${MTU}"), {"MTU": "1400"}, "1400"),
        (MTU.replace('"1450"', "$MTU"), {"MTU": "1400"}, "1400"),
        (MTU.replace('"1450"', "${MTU:-1380}"), {}, "1380"),
        (MTU.replace('"1450"', "${MTU-1380}"), {"MTU": "1390"}, "1390"),
        (MTU.replace('"1450"', "${DBPASS}"), {"DBPASS": "secret"}, "${DBPASS}"),
        (MTU.replace('"1450"', "banana"), {}, "banana"),
        ("", {}, None),
    ],
)
def test_override_mtu(text: str, values: dict[str, str], mtu: Optional[str]) -> None:
    assert parse_override(text, COMPOSE, values)[0].mtu == mtu


def test_override_networks() -> None:
    text = (
        "services:\n  a: {networks: [front, gone, default, mailcow-network]}\n"
        "networks:\n  front: {ipam: {}}\n  mailcow: {driver_opts: {a: b}}\n  mailcow-network: {enable_ipv6: false}\n"
        "  other: {external: true}\n"
    )
    found, ours = parse_override(text, COMPOSE, {})
    assert not ours
    assert found.networks == ("front", "mailcow", "mailcow-network", "other")
    assert found.unused == ("mailcow",) and found.undefined == ("gone",)


def test_broken_and_refused_overrides() -> None:
    assert parse_override("a: [\n", COMPOSE, {})[0].state == "broken"
    locked, _ = parse_override('x-cowgate: "${COWGATE_READY:?no}"\na: [\n', COMPOSE, {})
    assert locked.state == "broken" and locked.locked
    refused, _ = parse_override("networks:\n  mailcow-network: &n {attachable: true}\n  b: *n\n", COMPOSE, {})
    assert (refused.state, refused.line, refused.networks) == ("refused", 2, ("mailcow-network", "b"))


def test_networks_of_the_compose_file() -> None:
    assert parse_networks(COMPOSE) == ("mailcow-network",)
    assert parse_networks("networks:\r\n\r\n  'one':\r\n    a: b\r\n  two:\r\n".replace("\r", "")) == ("one", "two")
    assert parse_networks("services: {}\n") == () and parse_networks("networks:\n") == ()


def test_mtu_in_the_compose_file() -> None:
    assert parse_compose_mtu(COMPOSE) is None
    assert parse_compose_mtu(COMPOSE + "      # com.docker.network.driver.mtu: 1400\n") is None
    assert parse_compose_mtu(COMPOSE + '      com.docker.network.driver.mtu: "1400" # mine\n') == "1400"
