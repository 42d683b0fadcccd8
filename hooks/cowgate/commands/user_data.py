"""`cowgate user-data`."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cowgate import VERSION
from cowgate.boot import user_data as userdata
from cowgate.boot.user_data import FIELDS, settings
from cowgate.commands import common
from cowgate.errors import EXIT_READY, UsageError
from cowgate.machine.host import Host
from cowgate.policy import file, zones
from cowgate.policy.load import load
from cowgate.policy.model import Policy
from cowgate.quoting import masked
from cowgate.requirements.catalogue import waivable
from cowgate.requirements.system.hostname import name_problem
from cowgate.suggestion import suggestion

if TYPE_CHECKING:
    from cowgate.providers import UserDataField

SSH_KEY = r"(ssh-(ed25519|rsa|dss)|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( .*)?\Z"

KEY_FILE_LIMIT = 1 << 16  # bytes of a file of public keys
WITH_LIMIT = 1 << 20  # bytes; no provider takes more

SUMMARY = "write the user-data that makes a new machine ready, and keeps the install shut until it is"
DETAILS = """\
Carries all of cowgate; where that is more than the provider takes, --bundle FILE writes one file to put on a
web server and --source names it, pinned by its digest. The size goes to standard error. The same options give
the same bytes.

Your own cloud-config goes beside it with --with FILE. For a multipart of your own --part writes a part
that may stand anywhere in it (text/cloud-config-archive): no key of another part replaces it."""


class Options(common.Options):
    """What the machine is to be told; see declare()."""

    hostname: str
    ask_later: bool
    timezone: str
    install: bool
    ssh_key: list[str]
    provider: str
    source: str
    url: str
    sha256: str
    proxy: str
    bundle: str
    fail_cloud_init: bool
    with_file: str
    part: bool


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate user-data`."""
    parser.add_argument("--hostname", metavar="NAME", default="", help="mailcow's host name, such as mail.your-domain.tld")
    parser.add_argument(
        "--ask-later", action="store_true", help="no host name yet: the machine stays blocked until it has one"
    )
    parser.add_argument("--timezone", metavar="ZONE", default="", help="such as Europe/Berlin; default: the machine's own")
    parser.add_argument("--policy", metavar="FILE", default="", help="carry this policy")
    parser.add_argument("--install", action="store_true", help="install mailcow when the machine is ready")
    parser.add_argument(
        "--ssh-key", metavar="KEY", action="append", default=[], help="a public key, or a file of them; may be repeated"
    )
    parser.add_argument("--provider", metavar="NAME", default="", help="refuse what this provider's field does not take")
    parser.add_argument(
        "--source",
        metavar="WHERE",
        default="",
        help="where the machine gets cowgate: release, inside (carried whole), or the address of a cowgate.tar.xz or .deb",
    )
    parser.add_argument("--url", metavar="URL", default="", help="the same as --source URL")
    parser.add_argument("--sha256", metavar="HEX", default="", help="the digest of what that address must give")
    parser.add_argument(
        "--proxy",
        metavar="URL",
        default="",
        help="the web is reached through this HTTP proxy; anybody on the machine may see it",
    )
    parser.add_argument("--bundle", metavar="FILE", default="", help="write the file for --url, and print its digest")
    parser.add_argument(
        "--fail-cloud-init", action="store_true", help="a blocked machine also makes `cloud-init status` an error"
    )
    parser.add_argument(
        "--with",
        dest="with_file",
        metavar="FILE",
        default="",
        help="put your own cloud-config or script beside it, in one document; nothing of either is lost",
    )
    parser.add_argument(
        "--part", action="store_true", help="write a part for a multipart of your own, which no other part replaces"
    )
    parser.add_argument("--output", metavar="FILE", default="", help="write there instead of standard output")


def run(options: Options) -> int:
    """Build and print. Raises UsageError."""
    _choose_source(options)
    if options.bundle:
        options.sha256 = _write_bundle(options.bundle, options.sha256)
        if not options.url:
            print(options.sha256)
            return EXIT_READY
    provider = _provider(options.provider)
    wanted = _options(options)
    text = _text(options, wanted)
    if provider:
        userdata.demand_fit(provider, text)
        common.progress(
            f"{userdata.size_for(provider, text)} bytes; {provider.name} takes {provider.limit} ({provider.source})"
        )
    else:
        fit = [p.name for p in userdata.FIELDS.values() if userdata.size_for(p, text) <= p.limit]
        common.progress(f"{len(text.encode())} bytes; fits {', '.join(fit) or 'no provider'}")
    common.emit(options, text, private=masked(text) != text)
    return EXIT_READY


def _choose_source(options: Options) -> None:
    """Turn --source into an address and a digest, or neither. Raises UsageError."""
    source = options.source or ("release" if userdata.RELEASES and not options.url and not options.bundle else "")
    if source and options.url:
        raise UsageError("--source and --url say the same", hint="give one of them")
    if source == "release":
        if not userdata.RELEASES:
            raise UsageError(
                "this cowgate knows of no place with releases",
                hint="--source inside carries it whole; --source URL --sha256 HEX names a file of yours",
            )
        options.url = f"{userdata.RELEASES}/{VERSION}/cowgate.tar.xz"
        options.sha256 = options.sha256 or hashlib.sha256(userdata.bundle()).hexdigest()
    elif source != "inside":
        options.url = options.url or source


def _text(options: Options, wanted: userdata.Options) -> str:
    if options.part and options.with_file:
        raise UsageError("--with FILE makes the whole document, --part a part for another", hint="give one of them")
    if options.part and wanted.ssh_keys:
        raise UsageError(
            "--part takes no --ssh-key: a later part with keys would replace them", hint="put the keys into your own part"
        )
    if options.with_file:
        return _together(userdata.build_parts(wanted), options.with_file)
    return userdata.archive(userdata.build_parts(wanted)) if options.part else userdata.build(wanted)


def _together(ours: Sequence[userdata.Part], path: str) -> str:
    try:
        theirs = Host().read(os.path.abspath(path), WITH_LIMIT)
    except OSError as error:
        raise UsageError(f"--with: {path}: {error.strerror}") from None
    try:
        return userdata.combine(ours, theirs)
    except UsageError as error:
        raise UsageError(f"--with: {path}: {error.message}", hint=error.hint) from None


def _write_bundle(path: str, expected: str) -> str:

    content = userdata.bundle()
    digest = hashlib.sha256(content).hexdigest()
    if expected and expected != digest:
        raise UsageError(f"--sha256: the bundle of this cowgate has the digest {digest}", hint="leave --sha256 out")
    try:
        Host().save(os.path.abspath(path), content)
    except OSError as error:
        raise UsageError(f"--bundle: {path}: {error.strerror}") from None
    common.progress(f"{path}: {len(content)} bytes")
    return digest


def _provider(name: str) -> UserDataField | None:

    if name and name not in FIELDS:
        raise UsageError(f"unknown provider {name!r}{suggestion(name, FIELDS)}", hint=f"known: {', '.join(FIELDS)}")
    return FIELDS[name] if name else None


def _options(options: Options) -> userdata.Options:
    """The options, each of them checked as the machine will check it. Raises UsageError."""

    policy, text = Policy(), ""
    if options.policy:
        path = os.path.abspath(options.policy)
        policy = load(Host(), path, waivable=waivable())
        text = Host().read(path).lstrip("\ufeff")
    hostname = options.hostname or policy.hostname
    if not hostname and not options.ask_later:
        raise UsageError("no host name is given", hint="--hostname mail.your-domain.tld, or --ask-later")
    problem = name_problem(hostname) if hostname else ""
    if problem:
        raise UsageError(f"{hostname!r} cannot be mailcow's host name: {problem}")
    wrong = zones.problem(Host(), options.timezone or policy.timezone)
    if wrong:
        raise UsageError(f"--timezone: {wrong}", hint="a name is a file below /usr/share/zoneinfo, such as Europe/Vienna")
    if bool(options.url) != bool(options.sha256):
        raise UsageError("an address and --sha256 go together", hint="--bundle FILE writes the file and knows its digest")
    if options.url and not re.match(r"https?://[!-~]+\Z", options.url):
        raise UsageError(f"--source: {options.url!r} is no address that begins with https:// or http://")
    if options.sha256 and not re.match(r"[0-9a-f]{64}\Z", options.sha256):
        raise UsageError("--sha256: a digest has 64 digits 0-9 and a-f, as sha256sum prints it")
    if options.proxy and not re.match(r"https?://[A-Za-z0-9][A-Za-z0-9_.:@%~+/\[\]-]*\Z", options.proxy):
        raise UsageError(f"--proxy: {options.proxy!r} is no address like http://proxy.your-domain.tld:3128")
    wanted = userdata.Options(
        hostname=options.hostname,
        timezone=options.timezone,
        policy=text,
        install=options.install,
        ssh_keys=tuple(key for given in options.ssh_key for key in _keys(given)),
        url=options.url,
        sha256=options.sha256,
        proxy=options.proxy,
        fail_cloud_init=options.fail_cloud_init or policy.fail_cloud_init,
    )
    file.validate(file.parse("the options", settings(wanted).encode()))
    return wanted


def _keys(given: str) -> list[str]:
    """The public keys in a file, or the one that was given as text."""
    text = given
    if " " not in given.strip():
        try:
            text = Host().read(os.path.abspath(given), KEY_FILE_LIMIT)
        except OSError as error:
            raise UsageError(f"--ssh-key: {given}: {error.strerror}") from None
    if "PRIVATE KEY" in text:
        raise UsageError(f"--ssh-key: {given} is a private key", hint="give the file that ends in .pub")
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for key in keys:
        if not re.match(SSH_KEY, key):
            raise UsageError(f"--ssh-key: {key[:40]!r} is no public key", hint="it begins like ssh-ed25519 AAAA...")
    if not keys:
        raise UsageError(f"--ssh-key: there is no key in {given!r}")
    return keys
