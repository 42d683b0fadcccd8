"""DNS of the test internet: a signed root, a signed org, a zone with broken signatures, a resolver; one named with views."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import Callable

from tests.lab.netns import Namespace
from tests.lab.process import run, wait_until
from tests.scenarios.internet import names as where

DAY = 86400
HOSTNAME = "mail.example.org"
INSIDE = "inside.example.org"  # a name that has a private address here, as behind a split horizon
PROXIED = "proxied.example.org"  # a name behind Cloudflare's proxy


def write(directory: str, records: str = "") -> str:
    """Keys, signed zones and named.conf in a directory; gives the root's trust anchor as the text of a DS record.

    `records` takes the place of the records of example.org that mailcow wants.
    """
    for zone in (".", "org", "dnssec-failed.org"):
        for flags in (["-f", "KSK"], []):
            run(["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", *flags, "-K", directory, zone], check=True)
    _write(directory, "org.zone", _org(records))
    _write(directory, "bogus.zone", _bogus())
    _sign(directory, "dnssec-failed.org", "bogus.zone")
    _sign(directory, "org", "org.zone", extra=_wrong_ds())
    anchor = _ds(directory, ".")
    _write(directory, "root.zone", _root())
    _sign(directory, ".", "root.zone", extra=f"org. IN DS {_ds(directory, 'org')}\n")
    _sign_for_another_time(directory)
    _write(directory, "mended.zone", _soa("org."))
    _write(directory, "named.conf", _named_conf(directory))
    return anchor


def publish(directory: str, records: str) -> None:
    """Let the resolver MENDED4 find these records (lines of a zone file) in org, and none else but the servers' own."""
    text = _soa("org.") + "org. IN NS ns.org.\n" + _addresses("ns.org", where.ORG4, where.ORG6)
    others = (_addresses(name, *pair) for name, pair in where.names().items() if name.endswith(".org"))
    _write(directory, "mended.zone", text + "".join(others) + records)
    before = _loaded(directory)
    with open(os.path.join(directory, "named.pid")) as pid:
        os.kill(int(pid.read()), signal.SIGHUP)
    wait_until(lambda: _loaded(directory) > before, "the zone, loaded again", 20, 0.05)


def _loaded(directory: str) -> int:
    with open(os.path.join(directory, "named.log")) as text:
        return text.read().count("all zones loaded")


def _write(directory: str, name: str, text: str) -> None:
    with open(os.path.join(directory, name), "w") as out:
        out.write(text)


def _soa(zone: str) -> str:
    return f"$TTL 3600\n{zone} IN SOA a.root-servers.net. hostmaster.example.org. 1 3600 900 604800 3600\n"


def _addresses(name: str, four: str, six: str) -> str:
    return (f"{name}. IN A {four}\n" if four else "") + (f"{name}. IN AAAA {six}\n" if six else "")


def _root() -> str:
    text = _soa(".") + ". IN NS a.root-servers.net.\n"
    for address in where.roots():
        text += f"a.root-servers.net. IN {'AAAA' if ':' in address else 'A'} {address}\n"
    text += "org. IN NS ns.org.\n" + _addresses("ns.org", where.ORG4, where.ORG6)
    for name, (four, six) in where.names().items():
        if not name.endswith(".org"):
            text += _addresses(name, four, six)
    text += "".join(f"10.113.0.203.in-addr.arpa. IN PTR {name}.\n" for name in (INSIDE, PROXIED))
    return text + f"10.113.0.203.in-addr.arpa. IN PTR {HOSTNAME}.\n{_reverse6()} IN PTR {HOSTNAME}.\n"


def _reverse6() -> str:
    import ipaddress

    return ipaddress.ip_address(where.HOST6).reverse_pointer + "."


MAIL_RECORDS = f"""
example.org. IN MX 10 {HOSTNAME}.
example.org. IN TXT "v=spf1 mx a -all"
_dmarc.example.org. IN TXT "v=DMARC1; p=reject"
dept.example.org. IN MX 10 {HOSTNAME}.
dept.example.org. IN TXT "v=spf1 include:_spf.example.org -all"
_spf.example.org. IN TXT "v=spf1 mx:example.org -all"
autodiscover.dept.example.org. IN CNAME {HOSTNAME}.
autoconfig.dept.example.org. IN CNAME {HOSTNAME}.
wrong.example.org. IN MX 10 alias.example.org.
alias.example.org. IN CNAME {HOSTNAME}.
wrong.example.org. IN TXT "v=spf1 -all mx"
_dmarc.wrong.example.org. IN TXT "v=DMARC1; p=rejekt"
autodiscover.wrong.example.org. IN A {where.HOST4}
autodiscover.wrong.example.org. IN CAA 128 tbs "unknown"
autoconfig.wrong.example.org. IN CNAME {HOSTNAME}.
autodiscover.example.org. IN CNAME {HOSTNAME}.
autoconfig.example.org. IN CNAME {HOSTNAME}.
example.org. IN CAA 0 issue "letsencrypt.org"
"""


def _org(records: str) -> str:
    text = _soa("org.") + "org. IN NS ns.org.\n" + _addresses("ns.org", where.ORG4, where.ORG6)
    text += "dnssec-failed.org. IN NS ns.dnssec-failed.org.\n"
    text += _addresses("ns.dnssec-failed.org", where.BOGUS4, where.BOGUS6)
    for name, (four, six) in where.names().items():
        if name.endswith(".org"):
            text += _addresses(name, four, six)
    text += f"{INSIDE}. IN A 10.0.0.5\n{PROXIED}. IN A 104.16.132.229\n"
    text += f"*.corp.example.org. IN A {where.BOGUS4}\n"  # what a search domain with a wildcard answers in a name's place
    return text + _addresses(HOSTNAME, where.HOST4, where.HOST6) + (records or MAIL_RECORDS)


def _bogus() -> str:
    text = _soa("dnssec-failed.org.") + "dnssec-failed.org. IN NS ns.dnssec-failed.org.\n"
    return text + _addresses("ns.dnssec-failed.org", where.BOGUS4, where.BOGUS6)


def _wrong_ds() -> str:
    """A delegation signer that no key of the zone has: what makes dnssec-failed.org fail in the real world, too."""
    return f"dnssec-failed.org. IN DS 12345 13 2 {'AB' * 32}\n"


def _keys(directory: str, zone: str) -> list[str]:
    begins = "K" + ("" if zone == "." else zone) + ".+"
    return sorted(n[:-4] for n in os.listdir(directory) if n.startswith(begins) and n.endswith(".key"))


def _ds(directory: str, zone: str) -> str:
    for key in _keys(directory, zone):
        with open(os.path.join(directory, key + ".key")) as text:
            if " 257 " in text.read():
                out = run(["dnssec-dsfromkey", "-2", os.path.join(directory, key)], check=True).stdout
                fields = out.split(" DS ")[1].split()
                return " ".join([*fields[:3], "".join(fields[3:])])
    raise AssertionError(f"no key signing key for {zone}")


def _sign(directory: str, zone: str, file: str, *, extra: str = "", times: tuple[str, ...] = (), out: str = "") -> None:
    """file -> file.signed (or `out`), with the zone's keys in it."""
    path = os.path.join(directory, file)
    with open(path, "a") as text:
        text.write(extra)
        for key in _keys(directory, zone) if not times else ():
            text.write(f"$INCLUDE {directory}/{key}.key\n")
    ksk, zsk = _split_keys(directory, zone)
    run(
        [
            "dnssec-signzone",
            *("-K", directory, "-o", zone, "-f", os.path.join(directory, out or f"{file}.signed"), *times),
            *("-P", "-k", ksk, path, zsk),
        ],
        check=True,
        cwd=directory,
    )


def _split_keys(directory: str, zone: str) -> tuple[str, str]:
    found = {}
    for key in _keys(directory, zone):
        with open(os.path.join(directory, key + ".key")) as text:
            found["ksk" if " 257 " in text.read() else "zsk"] = os.path.join(directory, key)
    return found["ksk"], found["zsk"]


def _sign_for_another_time(directory: str) -> None:
    """The same zones with signatures that begin in two days, as a clock that is two days behind would see them."""
    times = ("-s", f"now+{2 * DAY}", "-e", f"now+{30 * DAY}")
    for zone, file in ((".", "root.zone"), ("org", "org.zone")):
        _sign(directory, zone, file, times=times, out=f"{file}.future")


def _view(name: str, addresses: tuple[str, ...], zones: dict[str, str], recursion: str = "no") -> str:
    inside = "".join(f'  zone "{zone}" {{ type primary; file "{file}"; }};\n' for zone, file in zones.items())
    return (
        f'view "{name}" {{\n  match-destinations {{ {"; ".join(addresses)}; }};\n'
        f"  recursion {recursion}; allow-recursion {{ any; }};\n{inside}}};\n"
    )


def _named_conf(directory: str) -> str:
    signed = {".": "root.zone.signed", "org": "org.zone.signed"}
    return (
        f'options {{ directory "{directory}"; pid-file "{directory}/named.pid";\n'
        "  listen-on { any; }; listen-on-v6 { any; };\n"
        f'  session-keyfile "{directory}/session.key"; managed-keys-directory "{directory}";\n'
        "  dnssec-validation no; minimal-responses no; allow-query { any; };\n"
        "  querylog no; notify no; empty-zones-enable no; };\n"
        "controls { };\n"
        + _view("root", where.roots(), {".": "root.zone.signed"})
        + _view("org", (where.ORG4, where.ORG6), {"org": "org.zone.signed"})
        + _view("bogus", (where.BOGUS4, where.BOGUS6), {"dnssec-failed.org": "bogus.zone.signed"})
        + _view("future", (where.FUTURE4, where.FUTURE6), {".": "root.zone.future", "org": "org.zone.future"})
        + _view("stripped", (where.STRIPPED4, where.STRIPPED6), {".": "root.zone", "org": "org.zone"})
        + _view("resolver", (where.RESOLVER4, where.RESOLVER6), signed, recursion="yes")
        + _view("mended", (where.MENDED4,), {".": "root.zone.signed", "org": "mended.zone"}, recursion="yes")
    )


def start(directory: str, namespace: Namespace) -> subprocess.Popen[bytes]:
    """named in the namespace, answering. The caller stops it."""
    if shutil.which("named") is None:
        raise AssertionError("the test internet needs named (package bind9)")
    log = os.path.join(directory, "named.log")
    process = namespace.start(["named", "-g", "-n", "1", "-c", f"{directory}/named.conf"], log=log)

    def running() -> bool:
        with open(log) as text:
            said = text.read()
        if process.poll() is not None:
            raise AssertionError(f"named ended: {said[-2000:]}")
        return "running" in said

    ready: Callable[[], bool] = running
    wait_until(ready, "named", 20)
    return process
