"""The seal and its gate: each forbidden thing is found and named, all of it goes, and what is refused stops the seal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cowgate import cli
from cowgate.errors import BusyError, UsageError
from cowgate.facts import hygiene
from cowgate.facts.collection import Facts
from cowgate.image import seal as image
from cowgate.image.hook import UNITS
from cowgate.image.scan import home_directories
from cowgate.image.table import REFUSE, RULES
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.machine.tree import Tree
from cowgate.policy.load import load
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, put
from tests.unit.image.plants import CLEAN, PLANTS, POLICY, Root, clean_tree, plant
from tests.unit.treehash import tree_hash

ONE_BY_ONE = [(rule, path) for rule, paths in PLANTS.items() for path in paths]
REFUSED = {rule.id for rule in RULES if rule.action == REFUSE}


def told(_text: str) -> None:
    """Nobody waits here."""


def rules_found(host: Host, policy: Policy = POLICY) -> set[str]:
    return {finding.rule for finding in image.look(host, policy).left}


def test_the_rules_that_are_planted_are_there() -> None:
    assert set(PLANTS) <= {rule.id for rule in RULES}


def test_a_clean_tree_has_no_finding(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    assert image.look(host, POLICY).left == ()
    before = tree_hash(tmp_path)
    assert image.seal(host, POLICY, told) == image.SealResult((), ())
    assert tree_hash(tmp_path) == before


@pytest.mark.parametrize(("rule", "path"), ONE_BY_ONE, ids=lambda value: str(value).lstrip("/"))
def test_each_thing_is_found_named_and_reset_or_refused(rule: str, path: str, tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, path, PLANTS[rule][path])
    found = image.look(host, POLICY).left
    assert any(finding.rule == rule and path.startswith(finding.path) for finding in found)
    assert f"[{rule}]" in image.render(image.SealResult((), found))
    before = tree_hash(tmp_path)
    result = image.seal(host, POLICY, told)
    if rule in REFUSED:
        assert rule in {finding.rule for finding in result.left}
        assert tree_hash(tmp_path) == before, "a refused tree is not touched"
        return
    assert result.left == ()
    assert rule in {finding.rule for finding in result.removed}
    assert image.look(host, POLICY).left == ()
    sealed = tree_hash(tmp_path)
    assert image.seal(host, POLICY, told).removed == ()
    assert tree_hash(tmp_path) == sealed, "the second seal changes nothing"


def test_everything_at_once(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    for rule, paths in PLANTS.items():
        if rule not in REFUSED:
            for path, text in paths.items():
                plant(host, path, text)
    result = image.seal(host, POLICY, told)
    assert result.left == ()
    assert result.size > 0
    assert image.render(result).splitlines()[-1].startswith("SEALED: ")
    kept = {path: text for path, text in CLEAN.items() if text and not text.startswith("-> ")}
    kept["/etc/hosts"] = "127.0.0.1 localhost\n"
    kept["/etc/fstab"] = "LABEL=root / ext4 defaults 0 1\n"
    kept["/etc/shadow"] = "root:*:20000:0:99999:7:::\nanna:!:20000:0:99999:7:::\n"
    for path, text in kept.items():
        assert host.read(path) == text, path


def test_what_was_left_is_named_after_a_failure(tmp_path: Path) -> None:
    class Immutable(Tree):
        def remove(self, path: str) -> None:
            raise PermissionError(1, "Operation not permitted", path)

    class Stubborn(Root):
        def open_tree(self) -> Tree:
            return Immutable(self.root)

    clean_tree(tmp_path)
    host = Stubborn(str(tmp_path))
    plant(host, "/swapfile", "x")
    lines: list[str] = []
    result = image.seal(host, POLICY, lines.append)
    assert [finding.path for finding in result.left] == ["/swapfile"]
    assert lines == ["/swapfile: Operation not permitted"]
    assert "NOT SEALED: 1 things" in image.render(result)


def test_reset_keeps_the_mode(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/etc/shadow", PLANTS["passwords"]["/etc/shadow"])
    (tmp_path / "etc/shadow").chmod(0o640)
    image.seal(host, POLICY, told)
    assert (tmp_path / "etc/shadow").stat().st_mode & 0o7777 == 0o640


def test_links_are_not_followed_when_removing(tmp_path: Path) -> None:
    host = clean_tree(tmp_path / "tree")
    outside = tmp_path / "outside"
    put(outside, "/precious", "x")
    (tmp_path / "tree/var/tmp").mkdir(parents=True)
    (tmp_path / "tree/var/tmp/link").symlink_to(outside)
    (tmp_path / "tree/var/tmp/nowhere").symlink_to("/no/such/place")
    assert image.seal(host, POLICY, told).left == ()
    assert (outside / "precious").read_text() == "x"
    assert list((tmp_path / "tree/var/tmp").iterdir()) == []


def test_data_root_of_docker_and_a_log_directory_behind_a_link(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/etc/docker/daemon.json", '{"data-root": "/srv/docker/"}')
    plant(host, "/srv/docker/volumes/x/_data/y", "z")
    assert rules_found(host) == {"docker-volumes"}
    plant(host, "/etc/docker/daemon.json", "{broken")
    assert rules_found(host) == {"docker-ipv6"}
    plant(host, "/etc/docker/daemon.json", "{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "var/log").rename(tmp_path / "data/log")
    (tmp_path / "var/log").symlink_to("/data/log")
    plant(host, "/data/log/dpkg.log", "x")
    assert rules_found(host) == {"logs"}


def test_what_is_no_text_file_stops_nothing(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/root/.ssh/control/socket", "x")
    plant(host, "/etc/shadow", "no colons here\n")
    for path in ("/etc/hostname", "/etc/fstab"):
        (tmp_path / path[1:]).unlink()
    (tmp_path / "etc/hostname").symlink_to("/nowhere")
    (tmp_path / "etc/fstab").mkdir()
    assert rules_found(host) == set()


def test_broken_login_file_is_refused(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/root/.docker/config.json", "{")
    (finding,) = image.look(host, POLICY).left
    assert (finding.rule, finding.detail) == ("docker-login", "it cannot be parsed")


def test_rules_of_one_provider_hold_only_there(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/etc/waagent.conf", "ResourceDisk.EnableSwap=y\n")
    assert rules_found(host) == {"azure-swap"}
    assert rules_found(host, Policy()) == set()


def test_only_root_can_tell(tmp_path: Path) -> None:
    class User(Host):
        def euid(self) -> int:
            return 1000

    for work in (lambda host: image.look(host, POLICY), lambda host: image.seal(host, POLICY, told)):
        with pytest.raises(UsageError, match="needs root"):
            work(User(str(tmp_path)))


def test_no_seal_while_cowgate_runs(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/etc/hostname", "builder\n")
    StateDir().ensure(host)
    with StateDir().lock(host), pytest.raises(BusyError):
        image.seal(host, POLICY, told)


class Running(Machine):
    """A running machine: its files are a tree."""

    def in_chroot(self) -> bool:
        return False

    def euid(self) -> int:
        return 0

    def inside(self, real: str) -> str:
        return self.tree.inside(real)


def test_running_system_is_not_judged_by_what_it_writes_again(tmp_path: Path) -> None:
    clean_tree(tmp_path)
    host = Running(tmp_path)
    living = {
        "/var/log/auth.log": "x",
        "/var/log/wtmp": "x",
        "/var/lib/dhcp/dhclient.eth0.leases": "x",
        "/run/log/journal/0123/system.journal": "x",
        "/tmp/systemd-private-1-ntp.service-a/tmp/x": "x",
        "/tmp/.X11-unix/X0": "x",
        "/var/lib/systemd/timers/stamp-x.timer": "x",
    }
    for path, text in living.items():
        put(tmp_path, path, text)
    assert image.look(host, POLICY).left == ()
    assert hygiene.collect(host, POLICY).value.findings == ()
    put(tmp_path, "/var/tmp/.left", "x")
    assert rules_found(host) == {"temporary"}
    # all of it is reset all the same; here no systemd runs, and nothing is stopped
    assert {f.path for f in image.seal(host, POLICY, told).removed} >= {"/var/log/auth.log", "/var/tmp/.left"}
    assert not (tmp_path / "tmp/systemd-private-1-ntp.service-a").exists()


def test_running_builder_is_quieted_first(tmp_path: Path) -> None:
    clean_tree(tmp_path)
    assert {unit for unit in UNITS if unit.endswith(".timer")} <= set(image.LOUD), "or it repairs what was sealed"
    stop, restart = " ".join(["systemctl", "stop", *image.LOUD]), "systemctl restart systemd-journald.service"
    host = Running(tmp_path, {"/var/log/syslog": "x", "/run/systemd/system/.keep": ""}, {stop: "", restart: ""})
    assert image.seal(host, POLICY, told).left == ()
    assert host.read(image.JOURNAL_DROPIN) == "[Journal]\nStorage=volatile\n"
    put(tmp_path, "/var/log/syslog", "x")
    hanging = Running(tmp_path, {}, {})
    hanging.answers = {stop: None}
    lines: list[str] = []
    assert image.seal(hanging, POLICY, lines.append).left == ()
    assert lines[-1].startswith("not all of it could be stopped: systemctl stop ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{timezone: Europe/Berlin, hostname: mail.example.org}\n", True),
        ('{"hostname": "mail.example.org"}\n', True),
        ("? hostname\n: mail.example.org\n", True),
        ("timezone: Europe/Berlin\nhostname: [\n", True),  # as it looks, where it cannot be parsed
        ("waivers:\n- id: resources.swap\n  reason: |\n    x\n\n    hostname: a\n", False),
        ("hostname: ''\n", False),
    ],
)
def test_a_host_name_is_found_however_it_is_written(tmp_path: Path, text: str, found: bool) -> None:
    host = clean_tree(tmp_path)
    put(tmp_path, "/etc/cowgate/policy.yaml", text)
    assert rules_found(host) == ({"policy-hostname"} if found else set())


def test_findings_survive_a_facts_file(tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    plant(host, "/opt/mailcow-dockerized/mailcow.conf", "DBPASS=secret\n")
    fact = hygiene.collect(host, POLICY)
    document = json.loads(json.dumps(Facts({"hygiene": fact}).to_json()))
    assert "secret" not in json.dumps(document)
    assert Facts.from_json(document).hygiene == fact


@pytest.mark.parametrize("passwd", ["", "broken\n", "x:x:1000:1000::relative:/bin/sh\n", "x:x:65534:1::/n:/\n"])
def test_homes_of_strange_password_files(passwd: str) -> None:
    assert home_directories(passwd) == ("/root",)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    host = clean_tree(tmp_path)
    monkeypatch.setattr(Host, "euid", lambda _self: 0)
    root = ["--root", str(tmp_path)]
    plant(host, "/opt/mailcow-dockerized/mailcow.conf", "x")
    plant(host, "/etc/hostname", "builder\n")
    assert cli.main(["seal", *root]) == 3
    assert "NOT SEALED: 1 things" in capsys.readouterr().out
    Path(tmp_path, "opt/mailcow-dockerized/mailcow.conf").unlink()
    assert cli.main(["seal", *root, "--check"]) == 3
    assert "/etc/hostname (builder): the name of the build machine [hostname]" in capsys.readouterr().out
    assert cli.main(["seal", *root]) == 0
    assert cli.main(["seal", *root, "--check"]) == 0
    assert capsys.readouterr().out.endswith("SEALED: nothing of the build machine is in it\n")


def test_the_provider_is_chosen_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = clean_tree(tmp_path)
    monkeypatch.setattr(Host, "euid", lambda _self: 0)
    words = ["--root", str(tmp_path), "--provider", "azure"]
    plant(host, "/etc/waagent.conf", "ResourceDisk.EnableSwap=y\n")
    assert cli.main(["seal", *words]) == 3
    assert "[azure-swap]" in capsys.readouterr().out
    assert not host.exists(image.PROVIDER_FILE), "what is not sealed is not changed"
    host.remove("/etc/waagent.conf")
    assert cli.main(["seal", *words, "--check"]) == 0
    assert not host.exists(image.PROVIDER_FILE)
    assert cli.main(["seal", *words]) == 0
    assert load(host, waivable={}).provider == "azure"
    assert cli.main(["seal", "--provider", "azur"]) == 2
    assert "did you mean 'azure'?" in capsys.readouterr().err
