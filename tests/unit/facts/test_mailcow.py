"""What is read from a mailcow checkout, on real directories; Compose answers as it is told to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest

from cowgate import codec
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
from cowgate.formats.compose import MTU_KEY
from cowgate.formats.composefiles import OVERRIDES
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
    """The live host with a Compose that answers as told, one answer after the other; with none it is not installed."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        super().__init__("/")
        self.answers = list(answers)
        self.installed = bool(answers)
        self.asked: list[tuple[str, ...]] = []
        self.clock = 0.0

    def exists(self, path: str) -> bool:
        return not path.endswith("cli-plugins/docker-compose") and super().exists(path)

    def which(self, name: str) -> str | None:
        return ("/usr/bin/docker-compose" if self.installed else None) if name == "docker-compose" else super().which(name)

    def euid(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.clock

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
        assert env is not None and env["COWGATE_READY"] == "1" and env["HOME"] == "/dev/null" and env["PWD"] == cwd
        assert env["COMPOSE_EXPERIMENTAL_GIT_REMOTE"] == env["COMPOSE_EXPERIMENTAL_OCI_REMOTE"] == "false"
        assert os.path.exists(f"{cwd}/docker-compose.yml") and timeout <= 8 - self.clock + 0.1 and input is None and ok is None
        self.clock += 3
        code, out, err = self.answers.pop(0)
        return Completed(tuple(argv), code, out, err)


MODEL = json.dumps({"name": "mc", "networks": {"mailcow-network": {"name": "mc_net", "driver_opts": {MTU_KEY: "1400"}}}})


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
    directory = f"{tmp_path}/none"
    found = collected(Host(), Policy(install_dir=directory))
    override = Override(path=f"{directory}/docker-compose.override.yml", not_asked="there is no checkout")
    assert found == Mailcow(directory, real_dir=directory, project="mailcowdockerized", override=override)
    assert not found.installed and not found.checkout and not found.present


def test_a_directory_without_checkout(tmp_path: Path) -> None:
    found = collected(Host(), Policy(install_dir=str(tmp_path)))
    assert found.present and not found.checkout


def test_a_fresh_checkout(tmp_path: Path) -> None:
    found = collected(ComposeHost(), checkout(tmp_path))
    assert found.checkout and not found.installed and found.env_link == "mailcow.conf"
    path = f"{found.install_dir}/docker-compose.override.yml"
    assert found.override == Override(path=path, not_asked="Compose is not installed") and found.override_path == path
    assert found.conf is None and found.compose_mtu is None
    assert found.setting("SMTP_PORT") == "25" and found.ipv6 and found.network_name == "mailcowdockerized_mailcow-network"


def test_an_offline_tree(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    policy = checkout(tmp_path / "opt", conf="HTTP_PORT=8080\n", override=MTU + PROXY)
    inside = Policy(install_dir=policy.install_dir[len(str(tmp_path)) :])
    found = collected(Host(str(tmp_path)), inside)
    assert found.conf == {"HTTP_PORT": "8080"} and found.installed
    assert found.override.mtu == "1450" and found.override.compose_error is None, "nothing is run for an offline tree"


def test_secrets_stay_out(tmp_path: Path) -> None:
    text = (
        "DBPASS=hunter2hunter2\nDBROOT=x\nREDISPASS='s3cret value'\nAPI_KEY=abc-def\nHTTP_PORT=8080\nbroken hunter2hunter2\n"
    )
    override = "services:\n  a:\n    environment: [PW=hunter2hunter2]\n" + MTU
    host = ComposeHost((15, "", 'invalid "hunter2hunter2" in s3cret value\n'), (0, "", ""))
    found = collect(host, checkout(tmp_path, conf=text, override=override)).value
    assert found.conf == {"HTTP_PORT": "8080"} and found.passwords
    assert found.findings == (Finding(6, "", "is neither KEY=value nor a comment", True),)
    assert found.override.compose_error == "it gives a reason that cowgate does not know"
    assert "hunter2" not in str(codec.encode(found)) and "s3cret" not in str(codec.encode(found))


def test_compose_is_asked_for_its_model(tmp_path: Path) -> None:
    host = ComposeHost((0, MODEL, "level=warning"))
    found = collect(host, checkout(tmp_path, conf="A=1\n", override=MTU)).value
    assert found.override.compose_error == "" and found.model is not None
    assert (found.project_name, found.network_name, found.mtu) == ("mc", "mc_net", "1400"), "not 1450, which the file has"
    assert host.asked[0][-4:] == ("/usr/bin/docker-compose", "config", "--format", "json")


def test_mailcows_own_file_is_tried_alone(tmp_path: Path) -> None:
    policy = checkout(tmp_path, override=PROXY)
    refused = (1, "", "Invalid ip address :: address ::: too many colons in address")
    host = ComposeHost(refused, (0, "", ""))
    found = collect(host, policy).value.override
    assert found.compose_error == "a published port is not valid" and not found.base_refused
    assert host.asked[1][-5:] == ("/usr/bin/docker-compose", "--file", "docker-compose.yml", "config", "--quiet")
    assert collect(ComposeHost(refused, refused), policy).value.override.base_refused


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((0, "[]", ""), "Compose gave an answer that cowgate does not know"),
        ((1, "", "unknown flag: --format\nUsage:"), "/usr/bin/docker-compose is too old to be asked"),
        ((1, "", 'git remote resource is disabled by "X"'), "it includes a file from the network"),
    ],
)
def test_compose_has_no_answer(tmp_path: Path, answer: tuple[int, str, str], reason: str) -> None:
    found = collect(ComposeHost(answer), checkout(tmp_path, override=MTU)).value
    assert found.override.compose_error is None and found.override.not_asked.startswith(reason)
    assert found.model is None and found.mtu == "1450", "our own parser decides"


def test_without_a_namespace_the_loaders_are_off(tmp_path: Path) -> None:
    host = ComposeHost((1, "", "unshare: unshare failed: Operation not permitted"), (0, MODEL, ""))
    assert collect(host, checkout(tmp_path)).value.override.compose_error == ""
    assert [words[0] for words in host.asked] == ["unshare", "/usr/bin/docker-compose"]


@pytest.mark.parametrize("name", OVERRIDES)
def test_the_override_is_found_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    policy = checkout(tmp_path)
    (tmp_path / "mailcow" / name).write_text(MTU)
    found = collect(ComposeHost(), policy).value
    assert found.override.path == found.override_path == f"{policy.install_dir}/{name}" and found.mtu == "1450"


def test_compose_file_and_the_directory_name_the_project(tmp_path: Path) -> None:
    policy = checkout(tmp_path, conf="HTTP_PORT=80\n", override=MTU)
    found = collect(ComposeHost(), policy).value
    assert found.project_name == "mailcow" and found.network_name == "mailcow_mailcow-network"
    (tmp_path / "mailcow/mailcow.conf").write_text("COMPOSE_FILE=docker-compose.yml\nN=net\n")
    (tmp_path / "mailcow/docker-compose.override.yml").write_text(MTU)
    found = collect(ComposeHost(), policy).value
    assert found.override_path == "" and found.mtu is None, "the file is not read"
    (tmp_path / "mailcow/mailcow.conf").write_text("COMPOSE_FILE=docker-compose.yml:o.yml\nN=net\n")
    (tmp_path / "mailcow/o.yml").write_text("name: other\nnetworks:\n  mailcow-network:\n    name: my-${N}\n")
    found = collect(ComposeHost(), policy).value
    assert (found.project_name, found.network_name) == ("other", "my-net")
    assert found.override_path == f"{policy.install_dir}/o.yml"


def test_old_checkouts_have_solr_and_ipv6_whatever_mailcow_conf_says(tmp_path: Path) -> None:
    old = COMPOSE.replace("    driver: bridge\n", "    driver: bridge\n    enable_ipv6: true\n")
    old = old.replace("    networks:\n", '    ports: ["${SOLR_PORT:-127.0.0.1:18983}:8983"]\n    networks:\n', 1)
    found = collect(ComposeHost(), checkout(tmp_path, conf="ENABLE_IPV6=false\n", compose=old)).value
    assert found.ipv6_fixed and found.ipv6 and found.solr
    now = collect(ComposeHost(), checkout_again(tmp_path, "docker-compose.yml", COMPOSE)).value
    assert not now.ipv6_fixed and not now.ipv6 and not now.solr


def checkout_again(root: Path, name: str, text: str) -> Policy:
    (root / "mailcow" / name).write_text(text)
    return Policy(install_dir=f"{root}/mailcow")


def test_a_huge_file(tmp_path: Path) -> None:
    policy = checkout(tmp_path)
    with open(f"{policy.install_dir}/mailcow.conf", "wb") as out:
        out.truncate(100 << 20)
    found = collected(Host(), policy)
    assert (found.conf_state, found.conf) == ("broken", None)
    assert found.conf_reason == "it cannot be read: larger than 1048576 bytes"
    assert found.installed


def test_a_binary_file(tmp_path: Path) -> None:
    found = collected(ComposeHost(), checkout(tmp_path, conf="A=1\nB=\0\n", override="\0"))
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
    assert parse_override(text, COMPOSE, values).mtu == mtu


def test_override_networks() -> None:
    text = (
        "services:\n  a: {networks: [front, gone, default, mailcow-network]}\n"
        "networks:\n  front: {ipam: {}}\n  mailcow: {driver_opts: {a: b}}\n  mailcow-network: {enable_ipv6: false}\n"
        "  other: {external: true}\n"
    )
    found = parse_override(text, COMPOSE, {})
    assert found.networks == ("front", "mailcow", "mailcow-network", "other")
    assert found.unused == ("mailcow",) and found.undefined == ("gone",)


def test_broken_and_refused_overrides() -> None:
    assert parse_override("a: [\n", COMPOSE, {}).state == "broken"
    locked = parse_override('x-cowgate: "${COWGATE_READY:?no}"\na: [\n', COMPOSE, {})
    assert locked.state == "broken" and locked.locked
    refused = parse_override("networks:\n  mailcow-network: &n {attachable: true}\n  b: *n\n", COMPOSE, {})
    assert (refused.state, refused.line, refused.networks) == ("refused", 2, ("mailcow-network", "b"))


def test_networks_of_the_compose_file() -> None:
    assert parse_networks(COMPOSE) == ("mailcow-network",)
    assert parse_networks("networks:\r\n\r\n  'one':\r\n    a: b\r\n  two:\r\n".replace("\r", "")) == ("one", "two")
    assert parse_networks("services: {}\n") == () and parse_networks("networks:\n") == ()


def test_mtu_in_the_compose_file() -> None:
    assert parse_compose_mtu(COMPOSE) is None
    assert parse_compose_mtu(COMPOSE + "      # com.docker.network.driver.mtu: 1400\n") is None
    assert parse_compose_mtu(COMPOSE + '      com.docker.network.driver.mtu: "1400" # mine\n') == "1400"
