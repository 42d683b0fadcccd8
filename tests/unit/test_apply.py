"""The actions: what they say they will do, the commands they give, in which order, and when there is nothing to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from cowgate.changes import values as changes
from cowgate.changes.action import KINDS, decode_change, encode_change
from cowgate.changes.actions import ACTIONS, action_for
from cowgate.changes.file_action import unified_diff
from cowgate.changes.install_packages import NoNetwork
from cowgate.changes.swap_file import filesystem_of
from cowgate.changes.unit_state import restore_links, unit_links
from cowgate.changes.values import (
    Change,
    Command,
    EditFile,
    FetchKey,
    InstallPackages,
    Link,
    LiveAddress,
    RemoveFile,
    RestartUnit,
    SwapFile,
    Sysctl,
    UnitState,
    WriteFile,
)
from cowgate.codec import CodecError
from cowgate.errors import CommandFailed, ConflictError, FixError
from cowgate.machine.host import Completed
from cowgate.quoting import visible_lines
from tests.unit.stage import Stage, quiet

EVERY: tuple[Change, ...] = (
    WriteFile("/etc/a", "x", 0o600),
    EditFile("/etc/a", "json.merge", {"values": {"a": [1, None]}}),
    FetchKey("/etc/a", "https://mirror.example/gpg", "0" * 40),
    RemoveFile("/etc/a"),
    Link("/etc/a", "b"),
    UnitState("a.service", running=False, enabled=None, masked=True),
    RestartUnit("a.service", "because"),
    InstallPackages("apt", ("jq", "git")),
    SwapFile("/swapfile", 1 << 30),
    Sysctl("vm.overcommit_memory", "1"),
    LiveAddress("eth0", "2001:db8::1/64", "0", "86000"),
    Command(("a", "b c"), "because", undo=("d",), check=("e",), timeout=3.0),
)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for name in ("etc/systemd/system/multi-user.target.wants", "etc/rc2.d", "proc/sys/vm"):
        (tmp_path / name).mkdir(parents=True)
    return Stage(tmp_path)


def show(active: str = "inactive", file: str = "disabled", load: str = "loaded", path: str = "/lib/x") -> tuple[int, str]:
    return 0, f"ActiveState={active}\nUnitFileState={file}\nLoadState={load}\nFragmentPath={path}\n"


# -- all kinds -----------------------------------------------------------------------------------------------------------


def test_every_kind_has_an_action_and_is_stored_and_read_again() -> None:
    assert set(ACTIONS) == set(KINDS.values()) == set(changes.Change.__args__)  # type: ignore[attr-defined]
    assert {type(change) for change in EVERY} == set(ACTIONS)
    for change in EVERY:
        assert decode_change(encode_change(change)) == change
    with pytest.raises(CodecError, match="no such kind"):
        decode_change({"FormatDisk": {}})


def test_every_kind_says_what_it_changes(stage: Stage) -> None:
    for change in EVERY:
        action = action_for(stage, change)
        assert action.target and action.summary()
        assert action.directories == action.directories and isinstance(action.irreversible, str)


# -- files -----------------------------------------------------------------------------------------------------------------


def test_diff_is_that_of_diff() -> None:
    assert unified_diff("/a", None, "x\n") == "--- /dev/null\n+++ /a\n@@ -0,0 +1 @@\n+x\n"
    assert unified_diff("/a", "x\n", None) == "--- /a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    assert unified_diff("/a", "x", "x\n") == ("--- /a\n+++ /a\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n")
    assert unified_diff("/a", "a\r\n\x0cb\n", "a\n\x0cb\n") == "--- /a\n+++ /a\n@@ -1,2 +1,2 @@\n-a\\r\n+a\n \\x0cb\n"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert visible_lines("a\tb\n\x1b[31m\udcffü") == "a\tb\n\\x1b[31m\\udcffü"


def test_content_that_not_everybody_may_read_is_not_shown(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "etc/secret").write_text("DBPASS=geheim\n")
    (tmp_path / "etc/secret").chmod(0o600)
    for change in (WriteFile("/etc/secret", "DBPASS=neu\n"), WriteFile("/etc/new", "DBPASS=neu\n", 0o600)):
        text = action_for(stage, change).describe({})
        assert "DBPASS" not in text
        assert "content not shown" in text
    assert "DBPASS" in action_for(stage, WriteFile("/etc/public", "DBPASS=neu\n")).describe({})


def test_links_are_described_as_links(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "etc/link").symlink_to("old")
    assert action_for(stage, Link("/etc/link", "new")).describe({}) == "ln -sfn new /etc/link\n"
    pending: dict[str, str | None] = {}
    remove = action_for(stage, RemoveFile("/etc/link"))
    assert not remove.is_true(pending)
    assert remove.describe(pending) == "remove the link /etc/link -> old\n"
    assert remove.is_true(pending)


def test_file_that_changes_at_this_very_moment_is_a_conflict(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "etc/a").write_text("one\n")
    action = action_for(stage, WriteFile("/etc/a", "ours\n"))
    prior = action.observe()
    (tmp_path / "etc/a").write_text("two\n")
    with pytest.raises(ConflictError):
        action.apply(prior, quiet)


def test_systemd_is_told_of_a_unit_file(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    for path, told in (("/etc/systemd/system/a.service", ["systemctl daemon-reload"]), ("/etc/a", [])):
        action = action_for(stage, WriteFile(path, "x"))
        stage.ran.clear()
        action.apply(action.observe(), quiet)
        assert stage.ran == told


# -- keys ------------------------------------------------------------------------------------------------------------------

KEYS = sorted((Path(__file__).parent / "formats" / "data" / "openpgp").glob("????????????????????????????????????????.asc"))
FETCH = FetchKey("/etc/apt/keyrings/docker.asc", "https://mirror.example/gpg", KEYS[0].stem)


def test_a_key_is_fetched_late_and_put_back(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    stage.web = [OSError("no route"), KEYS[0].read_bytes()]
    said: list[str] = []
    action = action_for(stage, FETCH)
    assert not action.is_true({})
    assert action.describe({}) == (
        f"fetch https://mirror.example/gpg into /etc/apt/keyrings/docker.asc, only if it is the key {KEYS[0].stem}\n"
    )
    prior = action.observe()
    action.apply(prior, said.append)
    action.verify()
    assert said == ["https://mirror.example/gpg cannot be fetched: no route; trying again in 3 s"]
    assert (tmp_path / "etc/apt/keyrings/docker.asc").read_bytes() == KEYS[0].read_bytes()
    assert action_for(stage, FETCH).is_true({})
    assert action_for(stage, FETCH).ours(prior, "", action.observe())
    action.undo(prior, None, quiet)
    assert not (tmp_path / "etc/apt/keyrings").exists()
    assert action_for(stage, FETCH).ours(prior, "", action.observe())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (KEYS[1].read_bytes(), f"does not give the key {KEYS[0].stem}: it is the key {KEYS[1].stem}"),
        (KEYS[0].read_bytes() + KEYS[1].read_bytes(), "not one armored public key"),
        (b"\xff\xfe<html>", "not one armored public key"),
    ],
)
def test_another_key_is_refused_at_once(stage: Stage, tmp_path: Path, content: bytes, said: str) -> None:
    stage.web = [content]
    action = action_for(stage, FETCH)
    with pytest.raises(FixError, match=said):
        action.apply(action.observe(), quiet)
    assert not (tmp_path / "etc/apt/keyrings").exists() and stage.clock == 0


def test_a_server_that_never_answers_is_told(stage: Stage) -> None:
    stage.web = [URLError(OSError("Temporary failure in name resolution"))] * 5
    action = action_for(stage, FETCH)
    with pytest.raises(FixError, match="/gpg cannot be fetched: Temporary failure in name resolution"):
        action.apply(action.observe(), quiet)
    assert stage.web == [] and stage.clock == 10300


# -- units -----------------------------------------------------------------------------------------------------------------

DOWN = UnitState("nginx.service", running=False, enabled=False, masked=True)
UP = UnitState("nginx.service", running=True, enabled=True, masked=False)


@pytest.mark.parametrize(
    ("change", "shown", "verbs"),
    [
        (DOWN, show("active", "enabled"), ["stop", "disable", "mask"]),
        (DOWN, show("activating", "disabled"), ["stop", "mask"]),
        (DOWN, show("inactive", "masked", "masked"), []),
        (DOWN, show("active", "masked", "masked"), ["stop"]),
        (DOWN, show("active", "enabled", path="/etc/systemd/system/nginx.service"), ["stop", "disable"]),
        (DOWN, show("failed", "static"), ["mask"]),
        (UP, show("inactive", "masked", "masked"), ["unmask", "enable", "start"]),
        (UP, show("active", "enabled-runtime"), []),
        (UnitState("nginx.service", running=True), show("inactive"), ["start"]),
        (UnitState("nginx.service"), show(), []),
    ],
)
def test_only_what_is_needed_is_told_to_systemctl_and_in_order(
    stage: Stage, change: UnitState, shown: tuple[int, str], verbs: list[str]
) -> None:
    stage.answers["systemctl show"] = shown
    action = action_for(stage, change)
    assert action.is_true({}) == (not verbs)
    assert action.describe({}) == "".join(f"systemctl {verb} nginx.service\n" for verb in verbs)
    prior = action.observe()
    stage.ran.clear()
    action.apply(prior, quiet)
    assert stage.ran == [f"systemctl {verb} nginx.service" for verb in verbs]


def test_summary_is_in_the_order_of_the_commands(stage: Stage) -> None:
    assert action_for(stage, DOWN).summary() == "stop, disable, mask nginx.service"
    assert action_for(stage, UP).summary() == "unmask, enable, start nginx.service"


def test_systemctl_without_an_effect_is_an_error(stage: Stage) -> None:
    stage.answers["systemctl show"] = show()
    with pytest.raises(FixError, match="systemctl start had no effect") as caught:
        action_for(stage, UnitState("a.service", running=True)).verify()
    assert "journalctl -u a.service" in caught.value.hint


def test_sysv_unit_is_enabled_by_its_runlevel_links(stage: Stage, tmp_path: Path) -> None:
    stage.answers["systemctl show"] = show("active", "generated")
    action = action_for(stage, UnitState("exim4.service", enabled=False))
    assert action.is_true({})
    (tmp_path / "etc/rc2.d/S01exim4").symlink_to("../init.d/exim4")
    (tmp_path / "etc/rc2.d/S01exim4-other").symlink_to("../init.d/exim4-other")
    assert not action.is_true({})
    assert unit_links(stage, "exim4.service") == {"/etc/rc2.d/S01exim4": "../init.d/exim4"}


def test_links_of_a_unit_are_put_back_exactly(stage: Stage, tmp_path: Path) -> None:
    system = tmp_path / "etc/systemd/system"
    wants = system / "multi-user.target.wants/nginx.service"
    wants.symlink_to("/lib/systemd/system/nginx.service")
    (system / "web.service").symlink_to("/lib/systemd/system/nginx.service")
    (tmp_path / "etc/rc2.d/S03nginx").symlink_to("../init.d/nginx")
    stage.answers["systemctl show"] = show("active", "enabled")
    action = action_for(stage, DOWN)
    prior = action.observe()
    wants.unlink()
    wants.parent.rmdir()
    (tmp_path / "etc/rc2.d/S03nginx").rename(tmp_path / "etc/rc2.d/K01nginx")
    (system / "web.service").unlink()
    (system / "nginx.service").symlink_to("/dev/null")
    (system / "other.wants").mkdir()
    stage.answers["systemctl show"] = show("inactive", "masked", "masked")
    stage.ran.clear()
    action.undo(prior, None, quiet)
    assert unit_links(stage, "nginx.service") == prior["links"]
    assert not (system / "nginx.service").is_symlink()
    assert not (system / "other.wants").exists()
    assert stage.ran[-1] == "systemctl start nginx.service"
    assert "systemctl daemon-reload" in stage.ran


def test_service_that_we_started_is_stopped_again(stage: Stage) -> None:
    stage.answers["systemctl show"] = show("inactive", "enabled")
    action = action_for(stage, UnitState("nginx.service", running=True))
    prior = action.observe()
    stage.answers["systemctl show"] = show("active", "enabled")
    after = action.observe()
    stage.ran.clear()
    action.undo(prior, None, quiet)
    assert "systemctl stop nginx.service" in stage.ran
    stage.answers["systemctl show"] = show("failed", "enabled")
    assert action.unchanged_since(after, action.observe())
    stage.answers["systemctl show"] = show("active", "disabled")
    assert not action.unchanged_since(after, action.observe())
    restore_links(stage, "nginx.service", prior)


def test_unit_in_the_sandbox_of_an_image_builder_is_enabled_by_its_files(stage: Stage, tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants/chronyd.service"
    stage.answers = {"systemctl show": (1, ""), "systemctl daemon-reload": (1, ""), "systemctl is-enabled": (1, "disabled\n")}
    action = action_for(stage, UnitState("chronyd.service", running=True, enabled=True))
    prior = action.observe()
    assert (prior["running"], action.describe({})) == (None, "systemctl enable chronyd.service\n")
    wants.symlink_to("/lib/systemd/system/chronyd.service")
    stage.answers["systemctl is-enabled"] = (0, "enabled\n")
    action.verify()
    action.undo(prior, None, quiet)
    assert not wants.is_symlink()
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    for call in (action.observe, lambda: restore_links(stage, "chronyd.service", prior)):
        with pytest.raises(CommandFailed):
            call()
    # that of the builder, and a chroot: systemctl says that it ignores what it is asked
    stage.answers["systemctl show"] = (0, "")
    assert action.observe()["running"] is None


# -- restarts --------------------------------------------------------------------------------------------------------------


def test_only_what_runs_is_restarted(stage: Stage) -> None:
    action = action_for(stage, RestartUnit("chrony.service", "new servers"))
    assert action.describe({}) == "systemctl try-restart chrony.service  # new servers\n"
    both = ["systemctl reset-failed chrony.service", "systemctl restart chrony.service"]
    for active, ran in (("inactive", []), ("active", both)):
        stage.answers["systemctl show"] = show(active)
        prior = action.observe()
        stage.ran.clear()
        action.apply(prior, quiet)
        assert stage.ran == ran
    action.verify()
    stage.answers["systemctl show"] = show("failed")
    with pytest.raises(FixError, match="does not run any more"):
        action.verify()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b'[{"Image": "ghcr.io/mailcow/unbound:1.24"}]'), "a container runs on it"),
        ((200, b'[{"Image": "nginx"}, {"Image": "nginx"}]'), "2 containers run on it"),
        ((500, b"{}"), "does not tell"),
        (ConnectionRefusedError(111, "Connection refused"), "does not tell"),
        ((200, b"[]"), ""),
    ],
)
def test_docker_is_not_restarted_under_a_container(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, answer: Any, said: str
) -> None:
    def unix_http(_path: str, target: str, *, limit: int) -> tuple[int, bytes]:
        assert target == "/containers/json" and limit > 4 << 20
        if isinstance(answer, OSError):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(stage, "unix_http", unix_http)
    stage.answers["systemctl show"] = show("active")
    action = action_for(stage, RestartUnit("docker.service", "daemon.json"))
    if said:
        with pytest.raises(FixError, match=said):
            action.apply({"running": True}, quiet)
        assert "systemctl restart docker.service" not in stage.ran
    else:
        action.undo({}, None, quiet)
        assert "systemctl restart docker.service" in stage.ran


# -- packages --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manager", "query", "install"),
    [
        ("apt", "dpkg-query -W", "apt-get install -y -q --no-install-recommends --no-remove"),
        ("dnf", "rpm -q --whatprovides", "dnf install -y -q"),
        ("apk", "apk info -e", "apk add --quiet --wait 600"),
    ],
)
def test_packages_of_each_manager(stage: Stage, manager: str, query: str, install: str) -> None:
    stage.answers = {f"{query}": (1, "")}
    action = action_for(stage, InstallPackages(manager, ("jq", "git")))
    assert action.observe() == {"missing": ["jq", "git"]}
    assert "cannot be undone" in action.describe({})
    assert action.irreversible == "installed packages stay: jq git"
    stage.ran.clear()
    action.apply({}, quiet)
    assert stage.ran[0].startswith(install) and stage.ran[0].endswith("jq git")
    stage.answers = {query: (0, "installed")}
    assert action.is_true({})


def test_unknown_package_manager_is_told(stage: Stage) -> None:
    with pytest.raises(FixError, match="cannot be installed with emerge"):
        action_for(stage, InstallPackages("emerge", ("jq",))).describe({})


def test_apt_gets_its_lists_when_it_has_none(stage: Stage) -> None:
    stage.answers = {"apt-get install": (100, "")}
    with pytest.raises(CommandFailed):
        action_for(stage, InstallPackages("apt", ("jq",))).apply({}, quiet)
    assert [line.split()[1] for line in stage.ran] == ["install", "update", "install"]
    stage.answers = {"dnf install": (1, "")}
    stage.ran.clear()
    with pytest.raises(CommandFailed):
        action_for(stage, InstallPackages("dnf", ("jq",))).apply({}, quiet)
    assert len(stage.ran) == 1


def test_a_late_network_is_waited_for_and_another_trouble_is_not(stage: Stage) -> None:
    apt = action_for(stage, InstallPackages("apt", ("jq",)))
    said: list[str] = []
    stage.answers = {
        "apt-get update": (0, "W: Failed to fetch: Temporary failure resolving"),
        "apt-get install": (100, "gone"),
    }
    with pytest.raises(NoNetwork, match="jq cannot be installed: the package sources cannot be reached"):
        apt.apply({}, said.append)
    assert [line.split()[1] for line in stage.ran] == ["install", *["update", "install"] * 3]
    assert stage.clock == 4000 and said[-1] == "the packages cannot be fetched: no network yet; trying again in 30 s"
    stage.answers = {"apt-get update": (100, "E: The repository is not signed."), "apt-get install": (100, "gone")}
    stage.ran.clear()
    with pytest.raises(CommandFailed, match="failed with exit code 100"):
        apt.apply({}, quiet)
    assert [line.split()[1] for line in stage.ran] == ["install", "update", "install"] and stage.clock == 4000


def test_one_broken_repository_keeps_no_package_away(stage: Stage) -> None:
    """`apt-get update` fails for a repository of somebody else's; the package is in another one."""
    stage.answers = {"apt-get update": (100, "E: The repository 'http://gone.test x Release' does not have a Release file.")}
    tries = iter([(100, "E: Unable to locate package jq"), (0, "")])
    real = stage.run

    def run(argv: Sequence[str], **options: Any) -> Completed:
        if argv[1] == "install":
            stage.answers["apt-get install"] = next(tries)
        return real(argv, **options)

    stage.run = run  # type: ignore[method-assign, assignment]
    action_for(stage, InstallPackages("apt", ("jq",))).apply({}, quiet)
    assert [line.split()[1] for line in stage.ran] == ["install", "update", "install"]


def test_an_interrupted_dpkg_is_finished_first(stage: Stage) -> None:
    (Path(stage.root) / "var/lib/dpkg/updates").mkdir(parents=True)
    action_for(stage, InstallPackages("apt", ("jq",))).apply({}, quiet)
    assert stage.ran[0].startswith("apt-get install")
    (Path(stage.root) / "var/lib/dpkg/updates/0001").write_text("Package: jq\n")
    stage.ran.clear()
    action_for(stage, InstallPackages("apt", ("jq",))).apply({}, quiet)
    assert stage.ran[0].startswith("dpkg --configure -a") and stage.ran[1].startswith("apt-get install")


def test_lock_of_another_package_manager_is_waited_for_and_its_holder_named(stage: Stage) -> None:
    stage.holders = [None, 77, 77, None]
    said: list[str] = []
    action_for(stage, InstallPackages("apt", ("jq",))).apply({}, said.append)
    assert said == ["waiting for process 77, which holds the package lock", "install jq: this can take minutes"]
    stage.holders = [77] * 100
    with pytest.raises(FixError, match="process 77 has held the package lock for 10 minutes"):
        action_for(stage, InstallPackages("apt", ("jq",))).apply({}, quiet)


# -- swap, settings, addresses, commands -------------------------------------------------------------------------------------

MOUNTS = """\
21 1 254:1 / / rw - ext4 /dev/vda1 rw
30 21 0:40 / /var\\040x rw shared:1 - xfs /dev/vdb rw
31 21 0:41 / /srv rw - ext4 /dev/vdc rw
32 31 0:42 / /srv rw - btrfs /dev/vdd rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/swapfile", "ext4"), ("/var x/swap", "xfs"), ("/srv/swap", "btrfs"), ("/srvother/swap", "ext4"), ("/", "ext4")],
)
def test_file_system_of_a_path(path: str, kind: str) -> None:
    assert filesystem_of(MOUNTS, path) == kind
    assert filesystem_of("", path) == ""


@pytest.fixture
def swap_stage(stage: Stage, tmp_path: Path) -> Stage:
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS)
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    return stage


def test_swap_file_is_private_whole_and_formatted_before_it_gets_its_name(swap_stage: Stage, tmp_path: Path) -> None:
    action = action_for(swap_stage, SwapFile("/swapfile", 1 << 20))
    assert "install -m 600 /dev/null /swapfile" in action.describe({})
    prior = action.observe()
    assert prior == {"exists": False, "active": False}
    action.apply(prior, quiet)
    found = (tmp_path / "swapfile").stat()
    assert (found.st_mode & 0o777, found.st_size) == (0o600, 1 << 20)
    assert found.st_blocks * 512 >= 1 << 20
    assert swap_stage.ran[0].startswith("mkswap /.cowgate-")
    assert swap_stage.ran[1:] == ["swapon /swapfile"]
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n/swapfile file 1024 0 -2\n")
    assert action.is_true({})
    assert action.unchanged_since({}, action.observe())
    action.undo(prior, None, quiet)
    assert swap_stage.ran[-1] == "swapoff /swapfile"
    assert not (tmp_path / "swapfile").exists()


def test_swap_file_that_can_not_be_formatted_leaves_nothing(swap_stage: Stage, tmp_path: Path) -> None:
    swap_stage.answers["mkswap"] = (1, "")
    action = action_for(swap_stage, SwapFile("/swapfile", 1 << 20))
    with pytest.raises(CommandFailed):
        action.apply(action.observe(), quiet)
    assert not [name for name in os.listdir(tmp_path) if "swap" in name or "cowgate" in name]


def test_swap_is_refused_where_it_does_not_work_or_something_lies_there(swap_stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "swapfile").write_text("somebody's")
    for path, said in (("/swapfile", "is there already"), ("/srv/swap", "btrfs")):
        action = action_for(swap_stage, SwapFile(path, 1 << 20))
        with pytest.raises(FixError, match=said):
            action.apply(action.observe(), quiet)
    assert (tmp_path / "swapfile").read_text() == "somebody's"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("vm.overcommit_memory", "/proc/sys/vm/overcommit_memory"),
        ("net/ipv6/conf/eth0.7/autoconf", "/proc/sys/net/ipv6/conf/eth0.7/autoconf"),
        ("net.ipv6.conf.eth0/7.autoconf", "/proc/sys/net/ipv6/conf/eth0.7/autoconf"),
    ],
)
def test_place_of_a_kernel_setting(stage: Stage, key: str, path: str) -> None:
    assert action_for(stage, Sysctl(key, "1")).path == path  # type: ignore[attr-defined]


def test_kernel_setting_is_written_and_put_back(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "proc/sys/vm/x").write_text("4\t4\t1\n")
    action = action_for(stage, Sysctl("vm.x", "7 4 1"))
    assert action.describe({}) == "sysctl -w 'vm.x=7 4 1'\n"
    prior = action.observe()
    action.apply(prior, quiet)
    action.verify()
    action.undo(prior, None, quiet)
    assert (tmp_path / "proc/sys/vm/x").read_text() == "4 4 1"
    with pytest.raises(FixError, match="to no effect"):
        action.verify()


def address(preferred: int, valid: int, local: str = "2001:db8::1") -> tuple[int, str]:
    return 0, f'[{{"addr_info":[{{"local":"{local}","preferred_life_time":{preferred},"valid_life_time":{valid}}}]}}]'


def test_address_gets_its_lifetime_and_keeps_its_place(stage: Stage) -> None:
    stage.answers["ip -j -6 addr show dev eth0"] = address(0, 4294967295)
    action = action_for(stage, LiveAddress("eth0", "2001:db8:0::1/64"))
    prior = action.observe()
    assert prior == {"preferred": "0", "valid": "forever"}
    command = "ip -6 addr change 2001:db8:0::1/64 dev eth0 preferred_lft {} valid_lft forever"
    assert action.describe({}) == command.format("forever") + "\n"
    stage.ran.clear()
    action.apply(prior, quiet)
    action.undo(prior, None, quiet)
    assert [line for line in stage.ran if "change" in line] == [command.format("forever"), command.format("0")]
    stage.answers["ip -j -6 addr show dev eth0"] = address(4294967295, 4294967295)
    assert action.is_true({})


def test_running_lifetimes_are_the_same(stage: Stage) -> None:
    action = action_for(stage, LiveAddress("eth0", "2001:db8::1/64", "0", "86000"))
    stage.answers["ip"] = address(0, 1000)
    assert action.is_true({})
    stage.answers["ip"] = address(10, 1000)
    assert not action.is_true({})


def test_address_that_ran_out_by_itself_is_nobodys_change(stage: Stage) -> None:
    action = action_for(stage, LiveAddress("eth0", "2001:db8::1/64", "0", "86000"))
    gone, running, lasting = ({"preferred": "0", "valid": valid} for valid in ("", "86000", "forever"))
    assert action.unchanged_since(running, {**gone, "preferred": ""})
    assert not action.unchanged_since(lasting, {**gone, "preferred": ""})
    assert not action.unchanged_since(running, lasting)


def test_address_that_went_away_is_not_made(stage: Stage) -> None:
    stage.answers["ip"] = address(0, 0, "2001:db8::2")
    action = action_for(stage, LiveAddress("eth0", "2001:db8::1/64"))
    with pytest.raises(FixError, match="is no longer on eth0"):
        action.apply(action.observe(), quiet)
    stage.ran.clear()
    action.undo({"preferred": "0", "valid": "forever"}, None, quiet)
    assert not [line for line in stage.ran if "change" in line]


def test_command_with_check_and_inverse(stage: Stage) -> None:
    action = action_for(stage, Command(("on", "now"), "why", undo=("off",), check=("is-on",)))
    assert action.describe({}) == "on now  # why\n"
    stage.answers["is-on"] = (1, "")
    assert not action.is_true({})
    with pytest.raises(FixError, match="to no effect"):
        action.verify()
    action.undo({}, None, quiet)
    assert "off" not in stage.ran
    stage.answers["is-on"] = (0, "")
    action.apply({}, quiet)
    action.verify()
    action.undo({}, None, quiet)
    assert [line for line in stage.ran if line != "is-on"] == ["on now", "off"]


def test_command_without_check_or_inverse(stage: Stage) -> None:
    action = action_for(stage, Command(("once",), "why"))
    assert "cannot be undone" in action.describe({})
    assert action.irreversible == "this command cannot be undone: once"
    assert not action.is_true({})
    action.verify()
    action.undo({}, None, quiet)
    assert stage.ran == []
