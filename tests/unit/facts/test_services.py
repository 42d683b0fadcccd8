"""Units as a running systemd tells (recorded), as the files tell where none runs, and OpenRC."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from cowgate.facts.services import OTHER_UNITS, PROPERTIES, Services, Unit, collect, parse_rc_status, parse_show
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from cowgate.servers import all_units
from tests.unit.facts.machine import Machine, directory, put, recorded

NAMES = tuple(dict.fromkeys((*all_units(), *OTHER_UNITS)))
SYSTEM = "/usr/lib/systemd/system"
SYSTEMD = {"/usr/lib/systemd/systemd": "", "/run/systemd/system/x": "", "/proc/self/x": ""}


def collected(host: Host) -> Services:
    return collect(host, Policy()).value


def running(root: Path, says: Optional[str], files: Optional[dict[str, str]] = None) -> Services:
    """A running systemd with a file for each unit that it tells about, and for no other; it is asked for these alone."""
    told = [name for name in NAMES if f"Id={name}\n" in (says or "") and not not_found(says or "", name)]
    told = told or ["nginx.service"]
    units = {f"/run/systemd/generator.late/{name}": "" for name in told}
    show = " ".join(("systemctl", "show", f"--property={PROPERTIES}", *told))
    return collected(Machine(root, {**SYSTEMD, **units, **(files or {})}, {show: says}))


def not_found(says: str, name: str) -> bool:
    (block,) = [b for b in says.split("\n\n") if f"Id={name}\n" in f"{b}\n"]
    return "LoadState=not-found" in block


def tree(root: Path, *files: str) -> Services:
    """An offline tree with systemd and these unit files; "path -> target" is a link."""
    put(root, "/lib/systemd/systemd", "")
    for line in files:
        path, arrow, target = line.partition(" -> ")
        put(root, path, f"-> {target}" if arrow else "[Unit]\n")
    found = collected(Host(str(root)))
    assert (found.manager, found.live) == ("systemd", False)
    return found


def test_a_chroot_with_the_builders_run_in_it(tmp_path: Path) -> None:
    """systemctl says "Running in chroot, ignoring command" there, with exit code 0: nobody would hold a port."""
    enabled = "/etc/systemd/system/multi-user.target.wants/nginx.service"
    files = {**SYSTEMD, "/proc/1/root/etc/passwd": "", f"{SYSTEM}/nginx.service": "[Unit]\n", enabled: "[Unit]\n"}
    found = collected(Machine(tmp_path, files, {}))
    assert (found.manager, found.live) == ("systemd", False)
    assert [(unit.name, unit.starts) for unit in found.units] == [("nginx.service", True)]


def test_debian_12_with_exim4(tmp_path: Path) -> None:
    """exim4 is made from an init script: only the runlevel links say that it starts."""
    links = {"/etc/rc3.d/S01exim4": "-> ../init.d/exim4", "/etc/rc0.d/K01exim4": "-> ../init.d/exim4"}
    script = {"/etc/init.d/exim4": 'DAEMON="/usr/sbin/exim4"\n', "/usr/sbin/exim4": ""}
    found = running(tmp_path, recorded("services", "show-bookworm-exim.txt"), {**links, **script})
    assert (found.manager, found.live) == ("systemd", True)
    exim = found.unit("exim4.service")
    assert exim == Unit(
        "exim4.service", "loaded", "active", "running", "generated", True, path="/run/systemd/generator.late/exim4.service"
    )
    assert exim.running
    nginx = found.unit("nginx.service")
    assert nginx is not None and (nginx.active, nginx.file_state, nginx.starts) == ("active", "enabled", True)
    assert found.unit("exim.service") is None and found.unit("postfix.service") is None


def test_debian_13_where_postfix_took_exims_place(tmp_path: Path) -> None:
    """exim4's script stays behind when its package is removed, and starts nothing."""
    links = {"/etc/rc3.d/S01exim4": "-> ../init.d/exim4"}
    script = {"/etc/init.d/exim4": 'DAEMON="/usr/sbin/exim4"\n'}
    found = running(tmp_path, recorded("services", "show-trixie-postfix.txt"), {**links, **script})
    exim, postfix = found.unit("exim4.service"), found.unit("postfix.service")
    assert exim is not None and (exim.running, exim.starts) == (False, False)
    assert postfix is not None and (postfix.running, postfix.starts, postfix.path) == (True, True, f"{SYSTEM}/postfix.service")


def show(**values: str) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def test_states() -> None:
    text = "\n".join(
        (
            show(Id="a.service", LoadState="masked", ActiveState="inactive", UnitFileState="masked"),
            show(Id="b.service", LoadState="loaded", ActiveState="inactive", UnitFileState="enabled"),
            show(Id="c.service", LoadState="not-found", ActiveState="active", SubState="running"),
            show(Id="d.service", LoadState="not-found", ActiveState="inactive"),
            show(Id="e.service", LoadState="loaded", ActiveState="activating", UnitFileState="enabled-runtime"),
            show(Id="b.service", LoadState="loaded", ActiveState="inactive", UnitFileState="enabled"),
            "garbage\n",
        )
    )
    units = {unit.name: unit for unit in parse_show(text)}
    assert list(units) == ["a.service", "b.service", "c.service", "e.service"]
    assert (units["a.service"].masked, units["a.service"].starts) == (True, False)
    assert units["b.service"].starts
    assert units["c.service"].running and not units["c.service"].starts
    assert units["e.service"].running and not units["e.service"].starts  # enabled-runtime is over with the next boot


def test_native_units_alone(tmp_path: Path) -> None:
    text = show(Id="nginx.service", LoadState="loaded", ActiveState="active", SubState="running", UnitFileState="enabled")
    assert running(tmp_path, text).units == (Unit("nginx.service", "loaded", "active", "running", "enabled", True),)


def test_a_systemd_without_any_of_them_is_not_asked(tmp_path: Path) -> None:
    assert collected(Machine(tmp_path, SYSTEMD)) == Services("systemd", True)


def test_a_masked_script(tmp_path: Path) -> None:
    text = show(Id="exim4.service", LoadState="masked", ActiveState="inactive", UnitFileState="generated")
    exim = running(tmp_path, text, {"/etc/rc3.d/S01exim4": "-> ../init.d/exim4"}).unit("exim4.service")
    assert exim is not None and (exim.masked, exim.starts) == (True, False)


@pytest.mark.parametrize(("script", "starts"), [("DAEMON=$EXIM\n", True), ("DAEMON=/usr/sbin/none\n", False), ("", True)])
def test_scripts_without_a_program(tmp_path: Path, script: str, starts: bool) -> None:
    """Only a program that the script names and that is not there proves that nothing would start."""
    text = show(Id="exim4.service", LoadState="loaded", ActiveState="inactive", UnitFileState="generated")
    files = {"/etc/rc3.d/S01exim4": "-> ../init.d/exim4", **({"/etc/init.d/exim4": script} if script else {})}
    exim = running(tmp_path, text, files).unit("exim4.service")
    assert exim is not None and exim.starts is starts


def test_a_systemd_that_hangs_is_an_error(tmp_path: Path) -> None:
    from cowgate.errors import CommandFailed

    with pytest.raises(CommandFailed, match="no answer within"):
        running(tmp_path, None)


# -- files -----------------------------------------------------------------------------------------------------------


def test_enabled_by_links(tmp_path: Path) -> None:
    wants = f"/etc/systemd/system/multi-user.target.wants/nginx.service -> {SYSTEM}/nginx.service"
    found = tree(tmp_path, f"{SYSTEM}/nginx.service", f"{SYSTEM}/caddy.service", wants)
    nginx, caddy = found.unit("nginx.service"), found.unit("caddy.service")
    assert nginx == Unit(
        "nginx.service",
        file_state="enabled",
        starts=True,
        path=f"{SYSTEM}/nginx.service",
        links=("/etc/systemd/system/multi-user.target.wants/nginx.service",),
    )
    assert caddy is not None and (caddy.starts, caddy.file_state, caddy.links) == (False, "disabled", ())
    assert not nginx.running


def test_socket_units_and_requires(tmp_path: Path) -> None:
    wants = f"/etc/systemd/system/sockets.target.requires/dovecot.socket -> {SYSTEM}/dovecot.socket"
    dovecot = tree(tmp_path, f"{SYSTEM}/dovecot.socket", wants).unit("dovecot.socket")
    assert dovecot is not None and dovecot.starts


@pytest.mark.parametrize("mask", ["/etc/systemd/system/nginx.service -> /dev/null", "empty"])
def test_masks(tmp_path: Path, mask: str) -> None:
    """Also where the tree has no /dev/null, and also where links still want the unit."""
    if mask == "empty":
        put(tmp_path, "/etc/systemd/system/nginx.service", "")
    wants = f"/etc/systemd/system/multi-user.target.wants/nginx.service -> {SYSTEM}/nginx.service"
    found = tree(tmp_path, f"{SYSTEM}/nginx.service", wants, *([] if mask == "empty" else [mask]))
    assert found.unit("nginx.service") == Unit(
        "nginx.service", "masked", file_state="masked", masked=True, path="/etc/systemd/system/nginx.service"
    )


def test_a_linked_unit_is_no_mask(tmp_path: Path) -> None:
    nginx = tree(tmp_path, "/opt/nginx.service", "/etc/systemd/system/nginx.service -> /opt/nginx.service").unit(
        "nginx.service"
    )
    assert nginx is not None and not nginx.masked


def test_an_alias_counts_once(tmp_path: Path) -> None:
    found = tree(tmp_path, f"{SYSTEM}/chrony.service", f"/etc/systemd/system/chronyd.service -> {SYSTEM}/chrony.service")
    assert [unit.name for unit in found.units] == ["chrony.service"]


def test_init_scripts(tmp_path: Path) -> None:
    found = tree(tmp_path, "/etc/init.d/exim4", "/etc/rc2.d/S01exim4 -> ../init.d/exim4", "/etc/init.d/lighttpd")
    assert found.unit("exim4.service") == Unit("exim4.service", file_state="generated", starts=True)
    assert found.unit("lighttpd.service") == Unit("lighttpd.service", file_state="generated")


def test_a_chroot_of_a_running_system_is_read_from_its_files(tmp_path: Path) -> None:
    found = collected(Machine(tmp_path, {"/lib/systemd/systemd": "", f"{SYSTEM}/nginx.service": "[Unit]\n"}))
    assert (found.live, [unit.name for unit in found.units]) == (False, ["nginx.service"])


# -- OpenRC ----------------------------------------------------------------------------------------------------------

RC_STATUS = """\
 nginx                                                             [  started 00:12:01 (0) ]
 postfix                                                           [  stopped  ]
 dovecot                                                           [  starting  ]
"""


def test_alpine(tmp_path: Path) -> None:
    files = {f"/etc/init.d/{name}": "" for name in ("nginx", "postfix", "dovecot", "unheard-of")}
    files |= {
        "/sbin/openrc-run": "",
        "/run/openrc/softlevel": "default\n",
        "/etc/runlevels/default/nginx": "-> /etc/init.d/nginx",
    }
    found = collected(Machine(tmp_path, files, {"rc-status --servicelist": RC_STATUS}))
    assert (found.manager, found.live) == ("openrc", True)
    assert {unit.name: (unit.active, unit.starts) for unit in found.units} == {
        "postfix.service": ("inactive", False),
        "dovecot.service": ("activating", False),
        "nginx.service": ("active", True),
    }


def test_alpine_tree(tmp_path: Path) -> None:
    directory(tmp_path, "/etc/runlevels/boot")
    put(tmp_path, "/usr/sbin/openrc-run", "")
    put(tmp_path, "/etc/init.d/nginx", "")
    put(tmp_path, "/etc/runlevels/default/nginx", "-> /etc/init.d/nginx")
    found = collected(Host(str(tmp_path)))
    assert found == Services(
        "openrc", False, (Unit("nginx.service", file_state="enabled", starts=True, links=("/etc/runlevels/default/nginx",)),)
    )


def test_rc_status() -> None:
    assert parse_rc_status(RC_STATUS + "Dynamic Runlevel: manual\n") == {
        "nginx": "started",
        "postfix": "stopped",
        "dovecot": "starting",
    }


def test_neither(tmp_path: Path) -> None:
    assert collected(Host(str(tmp_path))) == Services("", False)
