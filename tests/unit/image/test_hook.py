"""The hook of an image on a tree: what the collector sees, and that the fix makes a tree that passes."""

from __future__ import annotations

import os
import shutil
from datetime import date
from pathlib import Path

import pytest

from cowgate import schema
from cowgate.changes.install_packages import INSTALL_TIMEOUT
from cowgate.changes.journal import Journal
from cowgate.engine import results, run
from cowgate.engine.evaluate import judge_all
from cowgate.errors import StateError
from cowgate.facts import image
from cowgate.image import hook as imagehook
from cowgate.install import containers, images, source, steps
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Phase, Status
from cowgate.policy.model import Policy
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts
from tests.unit.facts.machine import put
from tests.unit.facts.test_cloudoff import ON as CLOUD_INIT

LINKS = imagehook.links("systemd", imagehook.BY_HAND)
FILES = imagehook.files("systemd", imagehook.BY_HAND)


def facts(root: Path) -> image.Image:
    return image.collect(Host(str(root)), Policy()).value


def cloud_init(root: Path) -> None:
    for path, text in CLOUD_INIT.items():
        if not (root / path[1:]).is_symlink():
            put(root, path, text)


def installed(root: Path) -> Path:
    """The copy of cowgate and its command, as hooks/image-build leaves them, on a system with systemd."""
    cloud_init(root)
    put(root, "/usr/lib/systemd/systemd", "")
    put(root, imagehook.LAUNCHER, "#!/bin/sh\n", 0o755)
    put(root, imagehook.COMMAND, "#!/bin/sh\n", 0o755)
    return root


def repair(root: Path) -> results.RunResult:
    """As on a clone: the seal emptied the journal. With it, what somebody changed after us is a conflict and stays."""
    host = Host(str(root))
    host.remove_tree("/var/lib/cowgate/journal")
    state = StateDir()
    state.ensure(host)
    rows = [row for row in all_requirements() if row.id == "image.hook"]
    return run.run(host, Policy(), Phase.BUILD, rows, Journal(host, state), progress=print)


def test_an_empty_tree_lacks_everything(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/systemd/systemd", "")
    found = facts(tmp_path)
    assert not found.expected
    assert len(found.problems) == len(imagehook.UNITS) + len(LINKS) + 1
    assert [problem.split(" (")[0] for problem in found.by_hand] == [imagehook.LAUNCHER, imagehook.COMMAND]


def test_a_command_that_is_empty_is_named(tmp_path: Path) -> None:
    installed(tmp_path)
    put(tmp_path, imagehook.COMMAND, "", 0o755)
    assert facts(tmp_path).by_hand == (f"{imagehook.COMMAND} (what the units start) is empty",)


def test_without_a_manager_of_services_nothing_is_said_to_be_in_place(tmp_path: Path) -> None:
    """A tree with neither systemd nor OpenRC: no part would ever start, so none is put there and the row fails."""
    installed(tmp_path)
    (tmp_path / "usr/lib/systemd/systemd").unlink()
    result = repair(tmp_path)
    (row,) = result.evaluation.rows
    assert row.verdict.status is Status.FAIL and result.applied == ()
    assert "neither systemd nor OpenRC is there" in row.verdict.diagnosis


OPENRC = imagehook.links("openrc", imagehook.BY_HAND)


def alpine(root: Path) -> Path:
    installed(root)
    (root / "usr/lib/systemd/systemd").unlink()
    shutil.rmtree(root / "etc/systemd")
    put(root, "/sbin/openrc-run", "", 0o755)
    return root


def test_on_openrc_the_fix_makes_services_in_their_runlevels(tmp_path: Path) -> None:
    found = facts(alpine(tmp_path))
    assert len(found.problems) == len(imagehook.SERVICES) + len(OPENRC) + 1 and not found.expected
    (row,) = repair(tmp_path).evaluation.rows
    assert row.verdict.status is Status.FIXED
    assert facts(tmp_path) == image.Image(expected=True, manager="openrc")
    assert not (tmp_path / "etc/systemd").exists() and not (tmp_path / imagehook.MOTD[1:]).exists()
    for name, level in imagehook.SERVICES.items():
        path = tmp_path / "etc/init.d" / name
        assert path.stat().st_mode & 0o777 == 0o755 and path.read_text() == imagehook.service_text(name)
        levels = [place.name for place in (tmp_path / "etc/runlevels").iterdir() if (place / name).is_symlink()]
        assert levels == ([level] if level else [])
    assert repair(tmp_path).applied == ()


@pytest.mark.parametrize("what", ["gone", "another", "in no runlevel"])
def test_a_service_that_is_off_is_named_and_put_back(what: str, tmp_path: Path) -> None:
    repair(alpine(tmp_path))
    path, link = tmp_path / "etc/init.d/cowgate", tmp_path / "etc/runlevels/default/cowgate"
    {
        "gone": path.unlink,
        "another": lambda: path.write_text("#!/sbin/openrc-run\n"),
        "in no runlevel": link.unlink,
    }[what]()
    (problem,) = facts(tmp_path).problems
    assert problem.startswith(("/etc/init.d/cowgate is", "cowgate is not enabled"))
    repair(tmp_path)
    assert facts(tmp_path).problems == ()


def test_a_service_without_its_permission_is_for_a_person(tmp_path: Path) -> None:
    repair(alpine(tmp_path))
    (tmp_path / "etc/init.d/cowgate").chmod(0o644)
    assert facts(tmp_path).by_hand == ("/etc/init.d/cowgate (a service) is not executable",)


def packaged(root: Path) -> Path:
    """As the .deb leaves it: launcher, command and units of the package, and nothing enabled."""
    put(root, "/usr/lib/systemd/systemd", "")
    put(root, imagehook.PACKAGE.launcher, "#!/bin/sh\n", 0o755)
    put(root, imagehook.PACKAGE.command, "-> ../lib/cowgate/cowgate.sh")
    for unit in imagehook.UNITS:
        put(root, f"{imagehook.PACKAGE_UNIT_DIR}/{unit}", imagehook.unit_text(unit, imagehook.PACKAGE))
    return root


def test_a_package_alone_promises_no_check_at_boot(tmp_path: Path) -> None:
    assert not facts(packaged(tmp_path)).expected


def test_the_units_of_a_package_are_enabled_and_everything_names_its_command(tmp_path: Path) -> None:
    cloud_init(tmp_path)
    repair(packaged(tmp_path))
    assert facts(tmp_path) == image.Image(expected=True, packaged=True)
    assert not list((tmp_path / "etc/systemd/system").glob("cowgate*"))
    link = tmp_path / "etc/systemd/system/cloud-init.target.wants/cowgate.service"
    assert os.readlink(link) == "/usr/lib/systemd/system/cowgate.service"
    for path, _, _ in imagehook.files("systemd", imagehook.PACKAGE):
        text = (tmp_path / path[1:]).read_text()
        assert "/usr/local" not in text and "/opt/cowgate" not in text
    assert repair(tmp_path).applied == ()


def test_a_package_beside_an_earlier_copy_counts(tmp_path: Path) -> None:
    repair(installed(tmp_path))
    found = facts(packaged(tmp_path))
    assert len([problem for problem in found.problems if "stands before the package's" in problem]) == len(imagehook.UNITS)
    repair(tmp_path)
    assert facts(tmp_path) == image.Image(expected=True, packaged=True)


def test_the_fix_makes_it_whole_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    installed(tmp_path)
    (row,) = repair(tmp_path).evaluation.rows
    assert row.verdict.status is Status.FIXED
    assert facts(tmp_path) == image.Image(expected=True)
    for path, text, mode in FILES:
        assert (tmp_path / path[1:]).read_text() == text
        assert (tmp_path / path[1:]).stat().st_mode & 0o777 == mode
    assert repair(tmp_path).applied == ()


def test_nobody_needs_the_login_message(tmp_path: Path) -> None:
    repair(installed(tmp_path))
    for path in (imagehook.MOTD, imagehook.PROFILE):
        (tmp_path / path[1:]).unlink()
    assert facts(tmp_path) == image.Image(expected=True)


@pytest.mark.parametrize("unit", imagehook.UNITS)
def test_each_unit_is_missed_and_comes_back(unit: str, tmp_path: Path) -> None:
    repair(installed(tmp_path))
    path = tmp_path / "etc/systemd/system" / unit
    path.write_text(path.read_text() + "# changed\n")
    assert facts(tmp_path).problems == (f"/etc/systemd/system/{unit} is not the unit of this version",)
    path.unlink()
    assert facts(tmp_path).problems == (f"/etc/systemd/system/{unit} is missing",)
    repair(tmp_path)
    assert facts(tmp_path) == image.Image(expected=True)


@pytest.mark.parametrize(("link", "target"), LINKS)
def test_each_link_is_missed_and_comes_back(link: str, target: str, tmp_path: Path) -> None:
    repair(installed(tmp_path))
    (tmp_path / link[1:]).unlink()
    assert facts(tmp_path).problems == (f"{Path(target).name} is not enabled ({link} is missing)",)
    repair(tmp_path)
    assert facts(tmp_path) == image.Image(expected=True)


def test_masked_stays_masked(tmp_path: Path) -> None:
    repair(installed(tmp_path))
    unit = tmp_path / "etc/systemd/system/cowgate.service"
    unit.unlink()
    unit.symlink_to("/dev/null")
    found = facts(tmp_path)
    assert (found.masked, found.by_hand, found.problems) == (("cowgate.service",), ("cowgate.service is masked",), ())
    (row,) = repair(tmp_path).evaluation.rows
    assert row.verdict.status is Status.FAIL
    assert unit.readlink() == Path("/dev/null")


@pytest.mark.parametrize("path", [imagehook.LAUNCHER, imagehook.CLEAN_HOOK])
def test_what_may_not_be_executed_is_named(path: str, tmp_path: Path) -> None:
    repair(installed(tmp_path))
    (tmp_path / path[1:]).chmod(0o644)
    assert [problem for problem in facts(tmp_path).by_hand if problem.startswith(f"{path} (")]


def test_clean_hook_is_missed(tmp_path: Path) -> None:
    repair(installed(tmp_path))
    (tmp_path / imagehook.CLEAN_HOOK[1:]).unlink()
    assert facts(tmp_path).problems == (f"{imagehook.CLEAN_HOOK} (what `cloud-init clean` runs) is missing",)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.BUILD])
def test_hygiene_is_no_row_of_another_phase(phase: Phase) -> None:
    """Nothing later decides it: deferred, it would keep the install phase shut forever."""
    rows = judge_all(all_requirements(), healthy_facts(), Policy(), phase, date(2026, 1, 1))
    assert "image.hygiene" not in {row.requirement.id for row in rows}


def test_units_have_the_time_that_their_work_may_take() -> None:
    """systemd would kill dpkg in the middle of an install, and a wait that the policy allows would never end well."""

    def given(unit: str) -> int:
        (line,) = [line for line in imagehook.unit_text(unit).splitlines() if line.startswith("TimeoutStartSec=")]
        return int(line.partition("=")[2])

    policy = schema.schema("policy")["properties"]
    clock, network = (policy[group]["properties"][key]["maximum"] for group, key in (("time", "wait"), ("probes", "patience")))
    packages = 2 * INSTALL_TIMEOUT  # Docker's, and all others
    assert given("cowgate.service") >= packages + clock + network
    work = 2 * source.CLONE_TIMEOUT + steps.CONFIGURE_TIMEOUT + images.PULL_TIMEOUT + containers.START_TIMEOUT
    assert given(imagehook.INSTALL_UNIT) >= work + packages + clock


def test_links_are_what_the_units_ask_for() -> None:
    """`systemctl enable` would make the same links: [Install] and LINKS must not drift apart."""
    for link, target in LINKS:
        unit = Path(target).name
        assert Path(link).name == unit
        assert f"WantedBy={Path(link).parent.name.removesuffix('.wants')}\n" in imagehook.unit_text(unit)


def test_an_unknown_unit_is_an_installation_error() -> None:
    with pytest.raises(StateError, match=r"lacks the unit cowgate-none\.service"):
        imagehook.unit_text("cowgate-none.service")


def test_a_first_boot_enables_nothing_but_the_hook() -> None:
    """With a machine-id that is to be made, systemd enables every unit that has an [Install] section: on every clone."""
    enabled = {target.rpartition("/")[2] for _, target in LINKS}
    assert {name for name in imagehook.UNITS if "[Install]" in imagehook.unit_text(name)} == enabled
