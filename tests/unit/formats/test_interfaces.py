"""interfaces(5): reading, deciding about aliases, editing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.formats.editors import edit
from cowgate.formats.error import FormatError
from cowgate.formats.interfaces import find_aliases, keep_names, lines, parse, repair_alias

DATA = Path(__file__).parent / "data" / "interfaces"

# Every fixture (each modelled on a file seen in the wild) and the aliases that must be renamed in it; () is "leave it alone".
EXPECTED: dict[str, tuple[str, ...]] = {
    "alias-alone": ("eth0:0",),
    "aliases-of-every-length": (),
    "appended-inet6-auto": (),
    "bogus-dns-line": (),
    "cloud-image-directories": (),
    "comment-in-stanza": (),
    "debian-default": (),
    "dhcp-only": (),
    "floating-ipv4": (),
    "floating-ipv6": (),
    "ipv4-alias-on-one-line": (),
    "loopback-inet6": (),
    "more-addresses-of-the-interface": (),
    "own-work-indented-by-three": (),
    "parent-has-ipv6": (),
    "placeholders": (),
    "second-device-0.7": ("eth0:0",),
    "second-device-18": ("eth0:0",),
    "second-device-20": ("eth0:0",),
    "second-device-25": ("eth0:0",),
    "several-nics-mtu": (),
    "trailing-remark": (),
    "tunnel-without-auto": (),
    "two-subnets-0.7": ("eth0:1",),
    "two-subnets-18": (),
}


def read(path: Path) -> str:
    return path.read_bytes().decode()


def repaired(text: str) -> str:
    """The text after what find_aliases() asks for, which must be the same when asked twice."""
    names = [alias.name for alias in find_aliases({"f": text}) if alias.repair]
    keep = keep_names({"f": text}, names)
    once = repair_alias(text, names, keep)
    assert once is not None
    assert repair_alias(once, names, keep) == once
    assert [alias.name for alias in find_aliases({"f": once}) if alias.repair] == []
    return once


def test_every_fixture_is_listed() -> None:
    assert sorted(path.name for path in DATA.iterdir() if path.suffix != ".repaired") == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_files_seen_in_the_wild(name: str) -> None:
    text = read(DATA / name)
    assert tuple(alias.name for alias in find_aliases({name: text}) if alias.repair) == EXPECTED[name]
    wanted = DATA / f"{name}.repaired"
    assert wanted.exists() == bool(EXPECTED[name])
    assert repaired(text) == (read(wanted) if wanted.exists() else text)


OWN = "iface eth0:0 inet6 static\n  address 2001:db8::1/64\n  gateway fe80::1\n"
BASE = OWN.replace("eth0:0", "base")

EDITS = {
    # name: (before, after)
    "several names on one line": ("auto lo eth0 eth0:0 eth1\n" + OWN, "auto lo eth0 eth1\n" + OWN.replace(":0 ", " ")),
    "alias first": ("auto eth0:0 eth1\n" + OWN, "auto eth0 eth1\n" + OWN.replace(":0 ", " ")),
    "parent comes up at boot by hotplug": (
        "allow-hotplug eth0\nauto eth0:0\n" + OWN,
        "allow-hotplug eth0\n" + OWN.replace(":0 ", " "),
    ),
    "other class": (
        "auto eth0\nallow-rack eth0:0 eth0:0\n" + OWN,
        "auto eth0\nallow-rack eth0\n" + OWN.replace(":0 ", " "),
    ),
    "tabs and spaces": (
        "auto\teth0:0 \t\niface\t eth0:0\tinet6   static  \n\taddress\t2001:db8::1/64\n \t gateway fe80::1",
        "auto\teth0 \t\niface\t eth0\tinet6   static  \n\taddress\t2001:db8::1/64\n \t gateway fe80::1",
    ),
    "CRLF": (
        "auto eth0\r\nauto eth0:0\r\niface eth0:0 inet6 static\r\n address 2001:db8::1/64\r\n gateway fe80::1\r\n",
        "auto eth0\r\niface eth0 inet6 static\r\n address 2001:db8::1/64\r\n gateway fe80::1\r\n",
    ),
    "continued lines": (
        "auto eth0 \\\n   eth0:0 \\\n   eth1\niface \\\n eth0:0 inet6 \\\nstatic\n address 2001:db8::1/64\n gateway fe80::1\n",
        "auto eth0 \\\n   eth1\niface \\\n eth0 inet6 \\\nstatic\n address 2001:db8::1/64\n gateway fe80::1\n",
    ),
    "an indented line that goes on": ("  auto eth0 \\\n eth0:0\n" + OWN, "  auto eth0\n" + OWN.replace(":0 ", " ")),
    "a name split by a continuation": ("auto eth0\niface et\\\nh0:0" + OWN[12:], "auto eth0\niface eth0" + OWN[12:]),
    "no newline at the end": (OWN + "auto eth0:0", OWN.replace(":0 ", " ") + "auto eth0"),
    "a comment may end in a backslash": ("# \\\nauto eth0:0\n" + OWN, "# \\\nauto eth0\n" + OWN.replace(":0 ", " ")),
    "comments stay": (
        "#auto eth0:0\n" + OWN + "  # iface eth0:0 inet6 static\n",
        "#auto eth0:0\n" + OWN.replace(":0 ", " ") + "  # iface eth0:0 inet6 static\n",
    ),
    "IPv4 of the same name stays": (
        "auto eth0:0\niface eth0:0 inet static\n address 192.0.2.9/32\n" + OWN,
        "auto eth0 eth0:0\niface eth0:0 inet static\n address 192.0.2.9/32\n" + OWN.replace(":0 ", " "),
    ),
    "IPv4 of the same name, parent there": (
        "auto eth0 eth0:0\niface eth0 inet dhcp\n up ifup eth0:0\niface eth0:0 inet static\n address 192.0.2.9/32\n" + OWN,
        "auto eth0 eth0:0\niface eth0 inet dhcp\n up ifup eth0:0\niface eth0:0 inet static\n address 192.0.2.9/32\n"
        + OWN.replace(":0 ", " "),
    ),
    "calls of ifup go": (
        "auto eth0\niface eth0 inet dhcp\n  up /sbin/ifup --force eth0:0 || true\n  mtu 1400\n  down ifdown eth0:0\n" + OWN,
        "auto eth0\niface eth0 inet dhcp\n  mtu 1400\n" + OWN.replace(":0 ", " "),
    ),
    "a longer command stays": (
        "auto eth0\niface eth0 inet dhcp\n  up ip link show eth0:0\n" + OWN,
        "auto eth0\niface eth0 inet dhcp\n  up ip link show eth0:0\n" + OWN.replace(":0 ", " "),
    ),
    "two stanzas of one name": (
        "auto eth0:0\n" + OWN + "iface eth0:0 inet6 static\n address 2001:db8::2/64\n",
        "auto eth0\n" + OWN.replace(":0 ", " ") + "iface eth0 inet6 static\n address 2001:db8::2/64\n",
    ),
    "only the one with the default route": (
        "auto eth0 eth0:0 eth0:1\niface eth0:1 inet6 static\n address 2001:db8::2/64\niface eth0 inet dhcp\n" + OWN,
        "auto eth0 eth0:1\niface eth0:1 inet6 static\n address 2001:db8::2/64\niface eth0 inet dhcp\n"
        + OWN.replace(":0 ", " "),
    ),
    "without a gateway, the only one": (
        "auto eth0 eth0:0\niface eth0 inet dhcp\niface eth0:0 inet6 static\n address 2001:db8::2\n netmask 64\n",
        "auto eth0\niface eth0 inet dhcp\niface eth0 inet6 static\n address 2001:db8::2\n netmask 64\n",
    ),
    "brought up by its parent": (
        "auto eth0\niface eth0 inet dhcp\n up ifup eth0:0\niface eth0:0 inet6 static\n address 2001:db8::2/64\n",
        "auto eth0\niface eth0 inet dhcp\niface eth0 inet6 static\n address 2001:db8::2/64\n",
    ),
    "a default route in a command": (
        "iface eth0:0 inet6 static\n address 2001:db8::2/128\n up ip -6 route add default via fe80::1 dev eth0\n",
        "iface eth0 inet6 static\n address 2001:db8::2/128\n up ip -6 route add default via fe80::1 dev eth0\n",
    ),
    "parent has a unique local address only": (
        "auto eth0 eth0:0\niface eth0 inet6 static\n address fd00:1::1/64\n" + OWN,
        "auto eth0\niface eth0 inet6 static\n address fd00:1::1/64\n" + OWN.replace(":0 ", " "),
    ),
    "parent's only IPv6 is deprecated on purpose": (
        "auto eth0 eth0:0\niface eth0 inet6 static\n address 2001:db8::9/64\n preferred-lifetime 0\n" + OWN,
        "auto eth0\niface eth0 inet6 static\n address 2001:db8::9/64\n preferred-lifetime 0\n" + OWN.replace(":0 ", " "),
    ),
    "gateway inherited": (
        BASE + "auto eth0:0\niface eth0:0 inet6 static inherits base\n",
        BASE + "auto eth0\niface eth0 inet6 static inherits base\n",
    ),
    "VLAN": ("auto eth0.7:0\n" + OWN.replace("eth0", "eth0.7"), "auto eth0.7\n" + OWN.replace("eth0:0", "eth0.7")),
    "a default route beside advertisements on the parent": (
        "auto eth0 eth0:0\niface eth0 inet6 auto\n" + OWN,
        "auto eth0\niface eth0 inet6 auto\n" + OWN.replace(":0 ", " "),
    ),
    "source lines and mappings end a stanza": (
        OWN + "source-directory x\nmapping wl*\n script s\nauto eth0:0\n",
        OWN.replace(":0 ", " ") + "source-directory x\nmapping wl*\n script s\nauto eth0\n",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_edit(name: str) -> None:
    before, after = EDITS[name]
    assert repaired(before) == after


LEFT_ALONE = {
    # reason: text
    "method auto, not static": "auto eth0:0\niface eth0:0 inet6 auto\n",
    "deprecated on purpose": "auto eth0:0\n" + OWN + "  preferred-lifetime 0\n",
    "eth0 has its own IPv6 address": "auto eth0:0\niface eth0 inet6 dhcp\n" + OWN,
    "has its own IPv6": "auto eth0:0\niface eth0 inet dhcp\n up ip -6 addr add 2001:db8::7/64 dev eth0\n" + OWN,
    "eth0 has its own IPv6": "auto eth0:0\niface eth0 inet6 auto\niface eth0:0 inet6 static\n address 2001:db8::2/64\n",
    "an extra address (/128)": "auto eth0:0\niface eth0 inet dhcp\niface eth0:0 inet6 static\n address 2001:db8::2/128\n",
    "eth0 is configured elsewhere": "auto eth0:0\niface eth0:0 inet6 static\n address 2001:db8::2/64\n",
    "nothing brings it up at boot": "iface eth0 inet dhcp\niface eth0:0 inet6 static\n address 2001:db8::2/64\n",
    "already carries the own IPv6": "auto eth0:1 eth0:0\niface eth0 inet dhcp\n" + OWN.replace(":0 ", ":1 ") + OWN,
}


@pytest.mark.parametrize("reason", LEFT_ALONE)
def test_left_alone(reason: str) -> None:
    alias = find_aliases({"f": LEFT_ALONE[reason]})[-1]
    assert not alias.own
    assert not alias.repair
    assert reason in alias.reason


OBSTACLES = {
    "line 5 inherits from it": OWN + "\niface eth1 inet6 static inherits eth0:0\n",
    "its address family is inherited": BASE + "iface eth0:0 inherits base\n",
    "runs `ifup eth0:0`": OWN + "iface tun0 inet manual\n pre-up ifup eth0:0\n",
    "runs `ifup eth0:0; logger up`": "iface eth0 inet dhcp\n up ifup eth0:0; logger up\n" + OWN,
    "f maps eth* to other names": "mapping eth*\n script guess\n" + OWN,
    "f maps *:0 to other names": "mapping *:0\n script guess\n" + OWN,
    "f brings up eth0=eth0:0": "auto eth0=eth0:0\n" + OWN,
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_own_but_for_a_person(reason: str) -> None:
    (alias,) = find_aliases({"f": OBSTACLES[reason]})
    assert alias.own
    assert not alias.repair
    assert reason in alias.reason


def test_decision_across_files() -> None:
    main = "source /etc/network/interfaces.d/*\n"
    cloud = "auto eth0\niface eth0 inet dhcp\n"
    floating = "auto eth0:1\niface eth0:1 inet6 static\n address 2001:db8:f::1/64\n"
    alone = find_aliases({"main": main, "cloud": cloud, "floating": floating})
    assert [(a.file, a.line, a.own) for a in alone] == [("floating", 2, True)]
    with_own = find_aliases(
        {"main": main, "cloud": cloud + "iface eth0 inet6 static\n address 2001:db8::1/64\n", "f": floating}
    )
    assert [a.own for a in with_own] == [False]


def test_what_an_alias_says() -> None:
    (alias,) = find_aliases({"f": "\n" + OWN})
    assert (alias.line, alias.name, alias.parent) == (2, "eth0:0", "eth0")
    assert (alias.address, alias.prefix, alias.gateway) == ("2001:db8::1", 64, "fe80::1")


def test_inheriting_from_nowhere_or_in_a_circle_is_no_endless_loop() -> None:
    text = "iface a:1 inet6 static inherits b\niface b inet6 static inherits a:1\niface c:0 inet6 static inherits nobody\n"
    assert [a.own for a in find_aliases({"f": text})] == [False, False]


def test_parse() -> None:
    document = parse(
        "address 1\n"  # misplaced: ifupdown refuses the file, we leave it out
        "auto a b\nallow-hotplug c\nallow- x\n"
        "iface a inet static\n  address 192.0.2.1/24  \n  up echo 'x  y'\n\n"
        "no-scripts a\nno-auto-down a\nrename a=b\n"
        "mapping w* v*\n script s\n map m\n"
        "source a/* b\nsource-dir d\n"
        "iface\niface b inherits\niface c inet6",
        "f",
    )
    assert document.auto == (("auto", "a"), ("auto", "b"), ("hotplug", "c"))
    assert [(s.line, s.interface, s.family, s.method, s.inherits) for s in document.stanzas] == [
        (5, "a", "inet", "static", ""),
        (18, "b", "", "", ""),
        (19, "c", "inet6", "", ""),
    ]
    assert document.stanzas[0].options == (("address", "192.0.2.1/24"), ("up", "echo 'x  y'"))
    assert document.stanzas[0].option("mtu") is None
    assert document.mappings == ("w*", "v*")
    assert document.sources == (("source", "a/* b"), ("source-directory", "d"))


def test_continuations_as_ifupdown_reads_them() -> None:
    # the second backslash becomes the last character once the empty line is joined, and continues again
    text = "a\\\\\n\nb c\\\n  d\\"
    assert [(line.number, line.text, [w.text for w in line.words]) for line in lines(text)] == [
        (1, "ab c  d", ["ab", "c", "d"])
    ]
    # only the first physical line loses its leading white space: what follows starts with an empty word, an option's name
    assert [line.keyword for line in lines("\\\n auto eth0\n")] == ["option"]
    assert [line.number for line in lines("\n\\\n\n  \n# x\nauto a\n")] == [6]


def test_binary_is_refused() -> None:
    with pytest.raises(FormatError, match="line 2 holds a NUL byte"):
        repair_alias("auto eth0\nau\0to\n", ["eth0:0"])


def test_as_editor() -> None:
    args = {"aliases": ["eth0:0"]}
    assert edit("interfaces.repair_alias", OWN, args) == OWN.replace(":0 ", " ")
    assert edit("interfaces.repair_alias", None, args) is None
    assert edit("interfaces.repair_alias", OWN, {"aliases": []}) == OWN
