from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.facts.timesources import (
    OUR_DROPIN,
    Dead,
    Ntpd,
    Source,
    TimeSources,
    Timesyncd,
    collect,
    find_dead,
    parse_busybox,
    parse_chrony,
    parse_network_state,
    parse_ntpd,
    parse_timesyncd,
)
from cowgate.formats.block import set_block
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, put, recorded

CONF = "/etc/systemd/timesyncd.conf"
DROPINS = "/etc/systemd/timesyncd.conf.d"
POOLS = tuple(f"{number}.debian.pool.ntp.org" for number in range(4))
PROGRAM = "/usr/lib/systemd/systemd-timesyncd"


def tree(root: Path, files: dict[str, str]) -> TimeSources:
    for path, text in files.items():
        put(root, path, text, 0o755 if path == PROGRAM or path.startswith(("/usr/sbin/", "/usr/bin/")) else 0o644)
    return collect(Host(str(root)), Policy()).value


def timesyncd(root: Path, files: dict[str, str]) -> Timesyncd:
    found = tree(root, {PROGRAM: "", **files}).timesyncd
    assert found is not None
    return found


def names(sources: tuple[Source, ...]) -> list[str]:
    return [source.name for source in sources]


# -- systemd-timesyncd


def test_nothing_installed(tmp_path: Path) -> None:
    assert tree(tmp_path, {CONF: "[Time]\nNTP=a\n"}) == TimeSources()


def test_defaults_of_debian(tmp_path: Path) -> None:
    found = timesyncd(tmp_path, {CONF: recorded("timesources", "timesyncd.debian-12")})
    assert found == Timesyncd(fallback=POOLS)


def test_no_configuration_at_all(tmp_path: Path) -> None:
    assert timesyncd(tmp_path, {}) == Timesyncd()


def test_values_add_up_once_each_and_know_their_line(tmp_path: Path) -> None:
    files = {CONF: "[Time]\nNTP=a b\nServers=b c\n", f"{DROPINS}/x.conf": "# x\n[Time]\nNTP=c d d\n"}
    found = timesyncd(tmp_path, files)
    assert found.servers == (
        Source("a", CONF, 2),
        Source("b", CONF, 2),
        Source("c", CONF, 3),
        Source("d", f"{DROPINS}/x.conf", 3),
    )


def test_an_empty_value_forgets_those_before(tmp_path: Path) -> None:
    found = timesyncd(tmp_path, {CONF: "[Time]\nNTP=a b\n", f"{DROPINS}/60.conf": "[Time]\nNTP=\nNTP=c\n"})
    assert names(found.servers) == ["c"]


def test_dropins_are_read_in_the_order_of_their_names_whatever_their_directory(tmp_path: Path) -> None:
    files = {
        "/usr/lib/systemd/timesyncd.conf.d/10-vendor.conf": "[Time]\nNTP=vendor\n",
        "/run/systemd/timesyncd.conf.d/01-dhclient.conf": "[Time]\nNTP=dhcp\n",
        "/usr/local/lib/systemd/timesyncd.conf.d/05-site.conf": "[Time]\nNTP=site\n",
        f"{DROPINS}/99-admin.conf": "[Time]\nNTP=admin\n",
        f"{DROPINS}/note.txt": "[Time]\nNTP=ignored\n",
        CONF: "[Time]\nNTP=main\n",
    }
    assert names(timesyncd(tmp_path, files).servers) == ["main", "dhcp", "site", "vendor", "admin"]


def test_etc_hides_the_same_name_elsewhere(tmp_path: Path) -> None:
    files = {
        "/usr/lib/systemd/timesyncd.conf.d/x.conf": "[Time]\nNTP=vendor\n",
        "/run/systemd/timesyncd.conf.d/x.conf": "[Time]\nNTP=run\n",
        f"{DROPINS}/x.conf": "[Time]\nNTP=admin\n",
    }
    assert names(timesyncd(tmp_path, files).servers) == ["admin"]


@pytest.mark.parametrize("mask", ["-> /dev/null", "-> /nowhere", ""])
def test_a_dropin_can_be_switched_off(tmp_path: Path, mask: str) -> None:
    files = {"/usr/lib/systemd/timesyncd.conf.d/x.conf": "[Time]\nNTP=vendor\n", f"{DROPINS}/x.conf": mask}
    assert timesyncd(tmp_path, files).servers == ()


def test_only_the_first_main_file_is_read(tmp_path: Path) -> None:
    files = {"/usr/lib/systemd/timesyncd.conf": "[Time]\nNTP=vendor\n", CONF: "[Time]\nNTP=admin\n"}
    assert names(timesyncd(tmp_path, files).servers) == ["admin"]


def test_main_file_of_the_vendor(tmp_path: Path) -> None:
    files = {"/usr/lib/systemd/timesyncd.conf": recorded("timesources", "timesyncd.debian-12")}
    assert timesyncd(tmp_path, files).fallback == POOLS


def test_fallback_that_somebody_set(tmp_path: Path) -> None:
    provider = f"{DROPINS}/01_debian_cloud.conf"
    files = {CONF: recorded("timesources", "timesyncd.debian-12"), provider: "[Time]\nFallbackNTP=169.254.169.123 x\n"}
    found = timesyncd(tmp_path, files)
    assert (found.fallback, found.fallback_path) == (("169.254.169.123", "x"), provider)


def test_fallback_that_somebody_removed(tmp_path: Path) -> None:
    found = timesyncd(tmp_path, {CONF: "[Time]\n#FallbackNTP=a\nFallbackNTP=b\nFallbackNTP=\n"})
    assert (found.fallback, found.fallback_path) == ((), CONF)


def test_others_are_those_without_our_dropin(tmp_path: Path) -> None:
    found = timesyncd(tmp_path, {CONF: "[Time]\nNTP=provider\n", OUR_DROPIN: "[Time]\nNTP=\nNTP=provider pool\n"})
    assert names(found.servers) == ["provider", "pool"]
    assert names(found.others) == ["provider"]
    assert found.servers[0].path == OUR_DROPIN


def test_servers_of_the_network_are_a_live_matter(tmp_path: Path) -> None:
    files = {PROGRAM: "", "/run/systemd/netif/state": "OPER_STATE=routable\nNTP=10.0.0.1 10.0.0.2\n"}
    assert timesyncd(tmp_path, {}).network == ()
    found = collect(Machine(tmp_path, {path: text for path, text in files.items() if path != PROGRAM}), Policy()).value
    assert found.timesyncd is not None and found.timesyncd.network == ("10.0.0.1", "10.0.0.2")
    assert parse_network_state("OPER_STATE=routable\n") == ()


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[Zeit]\nNTP=a b\nFallbackNTP=c\n", [Dead(CONF, 1, "[Zeit]", ("a", "b", "c"))]),
        ("# x\n\n[time]\nNTP=a\n", [Dead(CONF, 3, "[time]", ("a",))]),
        ("[Zeit]\n#NTP=a\n[Time]\nNTP=b\n", []),
        ("NTP=a\n[Time]\n", [Dead(CONF, 1, "NTP= before any section", ("a",))]),
        ("[Time]\nServer=a\nNTP=b\n", [Dead(CONF, 2, "Server= in [Time]", ("a",))]),
        ("[Time]\nPollMinSec=1\n", [Dead(CONF, 2, "PollMinSec= in [Time]")]),
        ("[Zeit]\nNTP=a\n[Zeit]\nNTP=b\n", [Dead(CONF, 1, "[Zeit]", ("a",)), Dead(CONF, 3, "[Zeit]", ("b",))]),
        ("[X-Site]\nNTP=a\n[Time]\nX-Note=1\nServers=a\nRootDistanceMaxSec=5\n", []),
        ("[Time\nNTP=a\n", [Dead(CONF, 2, "NTP= before any section", ("a",))]),
        ("", []),
    ],
)
def test_dead(text: str, dead: list[Dead]) -> None:
    assert list(find_dead(CONF, text)) == dead


def test_dead_sections_of_all_files(tmp_path: Path) -> None:
    found = timesyncd(tmp_path, {CONF: "[Zeit]\nNTP=a\n", f"{DROPINS}/x.conf": "[Zeit]\nNTP=b\n"})
    assert [(dead.path, dead.servers) for dead in found.dead] == [(CONF, ("a",)), (f"{DROPINS}/x.conf", ("b",))]
    assert found.servers == ()


def test_order_of_files_is_the_callers() -> None:
    assert names(parse_timesyncd([("a", "[Time]\nNTP=1"), ("b", "[Time]\nNTP=\n"), ("c", "[Time]\nNTP=2")]).servers) == ["2"]


# -- chrony


CHRONY = {"/usr/sbin/chronyd": ""}


def test_chrony_of_debian(tmp_path: Path) -> None:
    files = {
        **CHRONY,
        "/etc/chrony/chrony.conf": recorded("timesources", "chrony.debian"),
        "/etc/chrony/sources.d/site.sources": "# a comment\nserver ntp.site.test iburst\nconfdir /not/here\n",
        "/etc/chrony/sources.d/README": "server not.read\n",
        "/etc/chrony/sources.d/cowgate.sources": "pool ours.test iburst\n",
        "/etc/chrony/conf.d/phc.conf": "refclock PHC /dev/ptp0\nSERVER upper.case.test\n! server no\n; server no\n",
    }
    found = tree(tmp_path, files).chrony
    assert found is not None
    assert found.path == "/etc/chrony/chrony.conf"
    assert names(found.sources) == ["refclock PHC /dev/ptp0", "upper.case.test", "2.debian.pool.ntp.org", "ntp.site.test"]
    assert found.sources[3] == Source("ntp.site.test", "/etc/chrony/sources.d/site.sources", 2)
    assert names(found.ours) == ["ours.test"]
    assert found.sourcedirs == ("/run/chrony-dhcp", "/etc/chrony/sources.d")


def test_chrony_of_el_with_our_block(tmp_path: Path) -> None:
    text = set_block(recorded("timesources", "chrony.el9"), "time", ["pool ours.test iburst"])
    found = tree(
        tmp_path, {**CHRONY, "/etc/chrony.conf": text or "", "/run/chrony-dhcp/eth0.sources": "server dhcp.test\n"}
    ).chrony
    assert found is not None
    assert names(found.sources) == ["2.almalinux.pool.ntp.org", "dhcp.test"]
    assert names(found.ours) == ["ours.test"]


def test_chrony_includes(tmp_path: Path) -> None:
    files = {
        **CHRONY,
        "/etc/chrony.conf": "include /etc/chrony.more/*.inc\nserver last\n",
        "/etc/chrony.more/a.inc": "server first\ninclude /etc/chrony.conf\nconfdir /etc/chrony.more.d\n",
        "/etc/chrony.more.d/b.conf": "server second\n",
    }
    found = tree(tmp_path, files).chrony
    assert found is not None
    assert set(names(found.sources)) == {"first", "second", "last"}, "an include of itself ends"


def test_a_link_to_nowhere_names_no_source(tmp_path: Path) -> None:
    files = {**CHRONY, "/etc/chrony.conf": "server a\nsourcedir /etc/s\n", "/etc/s/x.sources": "-> /nowhere"}
    found = tree(tmp_path, files).chrony
    assert found is not None
    assert names(found.sources) == ["a"]


def test_chrony_files_for_root_only_are_named(tmp_path: Path) -> None:
    class NotRoot(Machine):
        def read_bytes(self, path: str, limit: int = 1 << 20) -> bytes:
            if path.endswith("secret.sources"):
                raise PermissionError(13, "Permission denied", path)
            return super().read_bytes(path, limit)

        def listdir(self, path: str) -> list[str]:
            if path == "/run/chrony-dhcp":
                raise PermissionError(13, "Permission denied", path)
            return super().listdir(path)

    put(tmp_path, "/usr/sbin/chronyd", "", 0o755)
    files = {"/etc/chrony.conf": "sourcedir /run/chrony-dhcp /etc/s.d\n", "/etc/s.d/secret.sources": "server a\n"}
    found = collect(NotRoot(tmp_path, files), Policy()).value.chrony
    assert found is not None
    assert (found.sources, found.unreadable) == ((), ("/run/chrony-dhcp", "/etc/s.d/secret.sources"))


def test_configuration_left_behind_by_a_removed_package(tmp_path: Path) -> None:
    assert tree(tmp_path, {"/etc/chrony/chrony.conf": "pool a\n"}).chrony is None


def test_chrony_directives() -> None:
    assert parse_chrony("rtcsync\n# pool a\n  pool b iburst\n\n") == [(3, ["pool", "b", "iburst"])]


# -- others


@pytest.mark.parametrize("path", ["/etc/ntpsec/ntp.conf", "/etc/ntp.conf", "/etc/openntpd/ntpd.conf", "/etc/ntpd.conf"])
def test_other_daemons(tmp_path: Path, path: str) -> None:
    text = "# comment\npool 0.debian.pool.ntp.org iburst # more\nservers pool.ntp.org\nrestrict default\nserver\n"
    found = tree(tmp_path, {"/usr/sbin/ntpd": "", path: text}).ntpd
    assert found == Ntpd(path, (Source("0.debian.pool.ntp.org", path, 2), Source("pool.ntp.org", path, 3)))


def test_ntpd_rs(tmp_path: Path) -> None:
    path = "/etc/ntpd-rs/ntp.toml"
    text = """[observability]
path = "/var/run/ntpd-rs/observe"
[[source]]
mode = "pool"
address = "ntpd-rs.pool.ntp.org" # four of them
count = 4
[[source]]
mode = "pps"
path = '/dev/pps0'
#[[source]]
#address = "nts.netnod.se"
[[server]]
listen = "0.0.0.0:123"
"""
    found = tree(tmp_path, {"/usr/bin/ntp-daemon": "", path: text}).ntpd
    assert found == Ntpd(path, (Source("ntpd-rs.pool.ntp.org", path, 5), Source("/dev/pps0", path, 9)))
    assert tree(tmp_path / "removed", {path: text}).ntpd is None


def test_busybox_ntpd(tmp_path: Path) -> None:
    found = tree(tmp_path, {"/usr/sbin/ntpd": "", "/etc/conf.d/ntpd": '# x\nNTPD_OPTS="-N -p pool.ntp.org -p b"\n'}).ntpd
    assert found == Ntpd(
        "/etc/conf.d/ntpd", (Source("pool.ntp.org", "/etc/conf.d/ntpd", 2), Source("b", "/etc/conf.d/ntpd", 2))
    )
    assert parse_busybox("NTPD_OPTS=-N\nOTHER='-p x'\n") == ()


def test_ntpd_without_configuration(tmp_path: Path) -> None:
    assert tree(tmp_path, {"/usr/sbin/ntpd": ""}).ntpd is None


def test_ntpd_lines() -> None:
    assert parse_ntpd("driftfile /x\npeer a\n") == [(2, ["peer", "a"])]
