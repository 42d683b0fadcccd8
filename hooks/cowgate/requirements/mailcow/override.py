"""mailcow.override: Compose reads mailcow's own file, and an override that merges with it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.formats.composefiles import BASES, MAILCOW_SERVICES, MAILCOWS, USUAL
from cowgate.model import Commands, Level, Phase, Requirement, Status, Verdict, failed, passed, warned
from cowgate.requirements.installed import is_installed
from cowgate.requirements.mailcow.shared import NETWORK, compose_command, unusable_override
from cowgate.requirements.services.shared import listed_with_and

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy.model import Policy

EXPECTED = "files that Compose reads and merges into mailcow's own"


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    override = mailcow.override
    if not mailcow.checkout:
        return passed("there is no checkout yet")
    other = _other_files(mailcow) or unusable_override(mailcow) or _refused_files(mailcow)
    if other is not None:
        return other
    wrong = [*_wrong_override(mailcow), *_wrong_model(mailcow)]
    if wrong:
        said = f"{override.path}: {'; '.join(wrong)}"
        return failed(said, remedy=f"correct {override.path}", commands=(("nano", override.path),), expected=EXPECTED)
    aside = _left_out(mailcow)
    if aside is not None:
        return aside.with_status(Status.WARN) if is_installed(facts) else aside  # it has lived with that so far
    if override.state == "refused":
        where = f"line {override.line}: " if override.line else ""
        return warned(
            f"{override.path} is one that cowgate will not edit: {where}{override.reason}",
            remedy="nothing, as long as the MTU in it is right; otherwise edit it by hand (`cowgate explain network.mtu`)",
        )
    if override.not_asked.startswith("it includes"):
        return warned(
            f"what Compose makes of {override.path or MAILCOWS} was not judged: {override.not_asked}",
            remedy="look at what Compose makes of it yourself",
            commands=(compose_command(mailcow.install_dir, "config"),),
        )
    return passed(_observed(mailcow), expected=EXPECTED)


def _wrong_model(mailcow: Mailcow) -> Iterator[str]:
    """What Compose takes, and mailcow does not run with."""
    model = mailcow.model
    if model is None:
        return
    unstarted = [n for n in mailcow.override.services if n in MAILCOW_SERVICES and n not in model.services]
    if unstarted:
        yield f"Compose does not start {listed_with_and(unstarted)} with it (a profile that is not active, or !reset)"
    if model.internal:
        yield "`internal: true` takes the way out from mailcow's network, and the published ports with it"


def _observed(mailcow: Mailcow) -> str:
    override = mailcow.override
    asked = "Compose accepts it" if override.compose_error == "" else f"it parses ({override.not_asked})"
    if override.state == "absent":
        return "there is none, and none is needed"
    return f"{asked}; {posixpath.basename(override.path)} names {', '.join(override.networks) or 'no network'}"


def _other_files(mailcow: Mailcow) -> Verdict | None:
    """Where Compose reads something else than mailcow's own file, or nothing."""
    path, listed = f"{mailcow.install_dir}/{MAILCOWS}", mailcow.setting("COMPOSE_FILE")
    conf = f"{mailcow.install_dir}/mailcow.conf"
    if mailcow.missing:
        return failed(
            f"{conf} sets COMPOSE_FILE={listed}, and {' and '.join(mailcow.missing)} is not there: Compose stops",
            remedy=f"correct COMPOSE_FILE in {conf}, or put the file there",
            commands=(("nano", conf),),
            expected=EXPECTED,
        )
    if not mailcow.files or path in mailcow.files or _has_network(mailcow):
        return None
    if listed:
        return failed(
            f"{conf} sets COMPOSE_FILE={listed}: Compose does not read mailcow's own {MAILCOWS}",
            remedy=f"name {MAILCOWS} first in COMPOSE_FILE, or take the line out",
            commands=(("nano", conf),),
            expected=EXPECTED,
        )
    taken = mailcow.files[0]
    return failed(
        f"Compose reads {taken}, and so not mailcow's own {MAILCOWS} beside it: it takes the first of {', '.join(BASES)}",
        remedy=f"give {taken} another name; what is to change mailcow's services belongs in {USUAL}",
        commands=(("mv", taken, f"{taken}.unused"),),
        expected=EXPECTED,
    )


def _has_network(mailcow: Mailcow) -> bool:
    """Whether Compose's own model has mailcow's network, by an include for instance."""
    return mailcow.model is not None and mailcow.model.network != ""


def _left_out(mailcow: Mailcow) -> Verdict | None:
    """Files that a person put there and that Compose does not read."""
    taken = mailcow.override.path
    ignored = [path for path in mailcow.ignored if posixpath.basename(path) not in BASES]
    if not ignored:
        return None
    if mailcow.setting("COMPOSE_FILE"):
        conf, listed = f"{mailcow.install_dir}/mailcow.conf", mailcow.setting("COMPOSE_FILE")
        return failed(
            f"{conf} sets COMPOSE_FILE={listed}, so Compose does not read {' and '.join(ignored)}",
            remedy="name it there too, or remove it",
            commands=(("nano", conf),),
            expected=EXPECTED,
        )
    return failed(
        f"Compose reads {taken} alone, and not {' and '.join(ignored)}: of its names for an override it takes the first",
        remedy=f"put all of it into {taken}, and remove the other file",
        commands=(("nano", taken), *(("nano", path) for path in ignored)),
        expected=EXPECTED,
        observed=taken,
    )


def _refused_files(mailcow: Mailcow) -> Verdict | None:
    """Where Compose itself stops. Its own words may quote an env file: they are for the terminal of whoever asks it."""
    override = mailcow.override
    empty = [key for key in ("HTTP_BIND", "HTTPS_BIND") if not mailcow.setting(key)]
    if mailcow.binds_needed and empty:
        conf = f"{mailcow.install_dir}/mailcow.conf"
        return failed(
            f"{MAILCOWS} is of 2022: today's Compose refuses it while HTTP_BIND or HTTPS_BIND is empty",
            remedy=f"update the checkout, or set HTTP_BIND=0.0.0.0 and HTTPS_BIND=0.0.0.0 in {conf}",
            commands=(_bound(mailcow, empty, conf),) if mailcow.conf is not None else (),
            expected=EXPECTED,
        )
    if not override.compose_error:
        return None
    ask = compose_command(mailcow.install_dir, "config", "--quiet")
    if override.base_refused:
        return failed(
            f"Compose refuses mailcow's own {MAILCOWS}, or mailcow.conf: {override.compose_error}",
            remedy="see Compose's own message, then correct mailcow.conf or update the checkout",
            commands=(ask,),
            expected=EXPECTED,
        )
    edit: Commands = (("nano", override.path),) if override.path else ()
    files = " and ".join(mailcow.files[1:]) or MAILCOWS
    return failed(
        f"Compose stops at {files}: {override.compose_error}",
        remedy="see Compose's own message, then correct the file",
        commands=(ask, *edit),
        expected=EXPECTED,
    )


def _bound(mailcow: Mailcow, keys: list[str], conf: str) -> tuple[str, ...]:
    """The command that gives these keys an address: in their line, or in a new one."""
    there = mailcow.conf or {}
    edits = (f"s|^{key}=.*|{key}=0.0.0.0|" if key in there else f"$a{key}=0.0.0.0" for key in keys)
    return ("sed", "-i", *(word for edit in edits for word in ("-e", edit)), conf)


def _wrong_override(mailcow: Mailcow) -> Iterator[str]:
    override = mailcow.override
    for name in override.unused:
        yield f"nothing uses the network {name}, so Compose ignores what is set there (mailcow's is named {NETWORK})"
    for name in override.undefined:
        yield f"a service uses the network {name}, which no file defines"
    if override.empty_services:
        yield "services: is empty, and Compose stops there; remove that line"
    if override.drops_bridge_name:
        yield "an !override or !reset takes away the bridge's name br-mailcow, by which mailcow's firewall container finds it"
    elif override.bridge_name not in (None, "br-mailcow"):
        yield f"the bridge is renamed to {override.bridge_name}; mailcow's firewall container knows br-mailcow only"
    subnets = override.ipam_subnets
    if subnets is not None and mailcow.ipv6 and not any(":" in subnet or "IPV6" in subnet for subnet in subnets):
        yield "ipam is repeated without the IPv6 subnet, which takes IPv6 away from mailcow; remove ipam, set IPV4_NETWORK"


ROW = Requirement(
    id="mailcow.override",
    title="Compose reads mailcow's own file, and an override that merges with it",
    level=Level.REQUIRED,
    phases=(Phase.INSTALL,),
    needs=("mailcow",),
    judge=judge,
    wants=("docker",),
    fix="network.mtu",
)
