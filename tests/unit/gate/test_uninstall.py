"""`cowgate uninstall`: after it a tree is what it was before cowgate came, and what cannot be undone keeps it from going."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cowgate import cli, removal
from cowgate.boot import user_data
from cowgate.engine import undo
from cowgate.errors import MailcowRuns
from cowgate.image.hook import UNITS
from cowgate.install import hooks as update_hooks
from cowgate.machine.host import Host
from tests.unit.treehash import tree_listing

TOP = Path(__file__).parents[3]
OWNERS = "files of others"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Debian as far as it matters here, with files of its owner beside the places of ours."""
    tmp_path.chmod(0o755)
    for name in ("usr/lib/systemd", "usr/local/sbin", "etc/systemd/system/cloud-init.target.wants", "etc/cloud/clean.d"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("etc/update-motd.d", "etc/profile.d", "etc/periodic/15min", "var/log", "opt/mailcow-dockerized"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "var/lib/cloud/scripts/per-instance").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").write_text("#!/bin/sh\n")
    for name in ("etc/update-motd.d/10-uname", "etc/profile.d/own.sh", "opt/mailcow-dockerized/post_update_hook.sh"):
        (tmp_path / name).write_text(OWNERS)
    (tmp_path / "etc/systemd/system/cloud-init.target.wants/own.service").symlink_to("/etc/own.service")
    return tmp_path


def install(root: Path) -> None:
    """As hooks/first-boot and an image build do."""
    hooks = root / "opt/cowgate/hooks"
    hooks.mkdir(parents=True)
    (hooks / "cowgate.sh").write_text("#!/bin/sh\n")
    shutil.copy(TOP / "hooks/cowgate/command.sh", root / "usr/local/sbin/cowgate")
    hook = ["run", "--root", str(root), "--phase", "build", "--only", "image.hook", "--yes"]
    assert cli.main(hook) == 3, "the parts are there; cloud-init, which starts them, is not"
    (root / "etc/cowgate/policy.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/cowgate/policy.yaml").write_text("hostname: mail.example.org\n")


def begin(root: Path) -> None:
    """As user-data does: what it writes, outside every journal."""
    for file in user_data._begin(user_data.Options(), "0"):
        target = root / file.path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    wants = root / "etc/systemd/system/cowgate-ready.target.wants"
    wants.mkdir()
    (wants / "cowgate-install.service").symlink_to("/etc/systemd/system/cowgate-install.service")
    (root / "var/log/cowgate-install.log").write_text("x")
    (root / "opt/mailcow-dockerized/pre_update_hook.sh").write_text(update_hooks.BEFORE)
    for name in (removal.ONCE, update_hooks.JOB):
        (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / name[1:]).write_text("#!/bin/sh\n")


def uninstall(root: Path, *options: str) -> int:
    return cli.main(["uninstall", "--root", str(root), "--yes", *options])


def test_the_tree_is_as_it_was(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree_listing(root)
    install(root)
    begin(root)
    assert all((root / f"etc/systemd/system/{unit}").exists() for unit in UNITS)
    shutil.rmtree(root / "etc/init.d")
    assert uninstall(root) == 0
    assert tree_listing(root) == before
    assert "cowgate is removed" in capsys.readouterr().err
    assert uninstall(root) == 0
    assert tree_listing(root) == before
    assert capsys.readouterr().err == "cowgate: nothing of cowgate is on this machine\n"


def test_a_runlevel_stays_when_it_is_empty(root: Path) -> None:
    """OpenRC looks for it at the next boot."""
    (root / "sbin").mkdir()
    (root / "sbin/openrc-run").write_text("")
    shutil.rmtree(root / "usr/lib/systemd")
    for level in ("boot", "default"):
        (root / f"etc/runlevels/{level}").mkdir(parents=True)
    install(root)
    assert (root / "etc/runlevels/default/cowgate").is_symlink()
    shutil.rmtree(root / "var/lib/cowgate")  # as on a clone of an image
    assert uninstall(root) == 0
    assert {str(path.relative_to(root)) for path in (root / "etc/runlevels").rglob("*")} == {
        "etc/runlevels/boot",
        "etc/runlevels/default",
    }
    assert not (root / "etc/init.d/cowgate").exists()


def test_what_was_sealed_away_from_the_journal_goes_too(root: Path) -> None:
    """An image's journal is emptied: on its clones nothing says any more who wrote the units."""
    before = tree_listing(root)
    install(root)
    shutil.rmtree(root / "var/lib/cowgate")
    assert uninstall(root) == 0
    assert tree_listing(root) == before


def test_what_cannot_be_undone_keeps_cowgate(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root)
    (root / "etc/cloud/clean.d/90-cowgate").write_text("changed since")
    assert uninstall(root) == 1
    assert "cowgate was not removed" in capsys.readouterr().err
    assert (root / "opt/cowgate/hooks").exists() and (root / "var/lib/cowgate/journal").exists()
    assert uninstall(root, "--keep-changes") == 0
    assert not (root / "opt/cowgate").exists() and not (root / "etc/systemd/system/cowgate.service").exists()


def test_what_mailcow_stands_on_is_not_undone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(root)
    monkeypatch.setattr("cowgate.commands.undo.mailcow_is_here", lambda *_: True)

    def taken(_: object) -> None:
        raise MailcowRuns("mailcow runs on this machine", hint="`cowgate undo --by-hand`")

    monkeypatch.setattr(undo, "demand_nothing_taken", taken)
    before = tree_listing(root)
    assert uninstall(root) != 0
    assert "--keep-changes removes cowgate alone" in capsys.readouterr().err
    assert tree_listing(root) == before
    assert uninstall(root, "--keep-changes") == 0
    assert not (root / "opt/cowgate").exists()


def test_the_password_of_mailcows_admin_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root)
    (root / "var/lib/cowgate/mailcow-admin.password").write_text("secret\n")
    assert uninstall(root) == 0
    assert [path.name for path in (root / "var/lib/cowgate").iterdir()] == ["mailcow-admin.password"]
    told = capsys.readouterr().err
    assert "stays: /var/lib/cowgate/mailcow-admin.password: the password of mailcow's admin account" in told
    assert "secret" not in told


def test_user_data_does_not_bring_it_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root)
    (root / "opt/cowgate/carried").write_text("0123456789abcdef\n")
    assert removal.BEGUN == user_data.BEGUN
    assert uninstall(root) == 0
    assert (root / "var/lib/cloud/cowgate-begun").read_text() == "0123456789abcdef\n"
    assert "stays: /var/lib/cloud/cowgate-begun: keeps user-data from bringing" in capsys.readouterr().err


def test_packages_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root)
    (root / "var/lib/cowgate/setup").write_text("2026-11-29T04:00:00Z  apt-get: python3 iproute2 \n")
    assert uninstall(root) == 0
    assert "cowgate: stays: installed by --setup, where they were missing: python3 iproute2\n" in capsys.readouterr().err


def test_a_package_is_the_package_managers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "usr/lib/cowgate").mkdir()
    (root / "usr/lib/cowgate/cowgate.sh").write_text("#!/bin/sh\n")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/apt-get").write_text("#!/bin/sh\n")
    (root / "usr/bin/apt-get").chmod(0o755)
    assert uninstall(root) == 2
    told = capsys.readouterr().err
    assert "installed as a package" in told and "`apt purge cowgate`" in told


def test_somebody_elses_command_of_that_name_stays(root: Path) -> None:
    command = root / "usr/local/sbin/cowgate"
    for target, ours in (("/srv/cowgate/hooks/cowgate.sh", False), ("/opt/cowgate/hooks/cowgate.sh", True)):
        command.unlink(missing_ok=True)
        command.symlink_to(target)
        assert bool(removal.parts(Host(str(root)), "/opt/mailcow-dockerized").files) is ours
    command.unlink()
    command.write_text("#!/bin/sh\necho another\n")
    assert removal.parts(Host(str(root)), "/opt/mailcow-dockerized") == removal.Parts((), (), ())
