"""docker.configuration: dockerd takes its configuration at its next start, and mailcow can run with it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.requirements.docker.obstacles import EXPECTED, in_the_way
from cowgate.requirements.docker.shared import options_place
from cowgate.requirements.services.shared import listed_with_and

if TYPE_CHECKING:
    from cowgate.facts.asked import Answer
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Docker
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """dockerd itself does not refuse the file, nothing in the table of what it refuses at a start is in it, no user
    namespace."""
    docker = facts.docker.value
    file, answer = docker.daemon_json, facts.asked.content.dockerd if facts.asked.content else None
    if file.state == "unreadable":
        return unknown(f"{file.path} cannot be read: {file.reason}", remedy="run `cowgate check` as root")
    wrong = refusals(docker, answer)
    if wrong:
        return _refused(facts, wrong)
    if docker.setting("userns-remap"):
        return _remapped(facts)
    obstacle = in_the_way(facts)
    if obstacle is not None:
        return obstacle
    if any(not _is_private(address) for address in docker.daemon_json.exposed):
        return _exposed(facts)
    doubts = list(_doubts(docker))
    if doubts:
        return warned(
            "; ".join(doubt for doubt, _ in doubts),
            remedy="; ".join(remedy for _, remedy in doubts),
            commands=(("dockerd", "--validate", "--config-file", file.path),),
            expected=EXPECTED,
            observed="dockerd starts with it",
        )
    return passed(_observed(docker, answer), expected=EXPECTED)


def refusals(docker: Docker, answer: Answer | None) -> tuple[str, ...]:
    """What keeps dockerd from starting with what it would read now, each as a sentence about the file; empty where nothing
    does."""
    own = tuple(str(problem) for problem in docker.daemon_json.problems)
    if answer is None or not answer.refused:
        return own
    return own or (f"dockerd refuses it{f': {answer.said}' if answer.said else ' (`dockerd --validate` says why)'}",)


def _refused(facts: Facts, wrong: tuple[str, ...]) -> Verdict:
    docker = facts.docker.value
    file, answer = docker.daemon_json, facts.asked.content.dockerd if facts.asked.content else None
    said = answer.said if answer and answer.refused else ""
    where = f" line {file.line}" if file.line and not wrong[0].startswith("line ") else ""
    beside = any("is also an option" in text for text in wrong)
    text = "correct it, and let dockerd check it before Docker is restarted"
    if beside:
        place = options_place(facts)
        text = f"remove the key from the file, or the option from {place.owner} ({place.edit}); then check again"
    quoted = {} if not said else {f"dockerd --validate --config-file {file.path}": said}
    return failed(
        f"{file.path}{where}: {'; '.join(wrong)}: dockerd does not start with it"
        + ("; the running Docker goes on until its next restart" if docker.running else ""),
        remedy=text,
        commands=_look(facts, beside),
        expected=EXPECTED,
        observed=f"{len(wrong)} in {file.path} that dockerd refuses",
        evidence={file.path: "; ".join(wrong), **quoted},
    )


def _look(facts: Facts, beside: bool) -> Commands:
    return (
        *((options_place(facts).look,) if beside else ()),
        ("dockerd", "--validate", "--config-file", facts.docker.value.daemon_json.path),
    )


def _remapped(facts: Facts) -> Verdict:
    docker, place = facts.docker.value, options_place(facts)
    in_file = docker.daemon_json.userns_remap is not None
    where = f'"userns-remap" in {docker.daemon_json.path}' if in_file else f"--userns-remap of {place.name}"
    look = ("cat", docker.daemon_json.path) if in_file else place.look
    return failed(
        f"{where} is set: mailcow has privileged containers and one in the host's network, and Docker starts neither in a "
        f"user "
        "namespace",
        remedy="remove it and restart Docker (images and containers made until then are no longer visible: they are in a "
        "directory of their own below /var/lib/docker)",
        commands=(look,),
        expected=EXPECTED,
        observed="userns-remap",
    )


OPEN = (
    'take it out of "hosts" and of the options of dockerd (`docker -H ssh://...` reaches it as well), or have it ask for '
    "certificates (tlsverify)"
)


def _exposed(facts: Facts) -> Verdict:
    """dockerd takes orders over TCP without asking who gives them, and who gives it orders is root on this machine."""
    docker = facts.docker.value
    return failed(
        f"{_open_to(docker)}: whoever reaches that port is root on this machine, and reads all mail",
        remedy=f"{OPEN}; then restart Docker",
        commands=(
            *((("cat", docker.daemon_json.path),) if docker.daemon_json.state == "ok" else ()),
            options_place(facts).look,
        ),
        expected=EXPECTED,
        observed=f"open on {listed_with_and(docker.daemon_json.exposed)}",
    )


def _open_to(docker: Docker) -> str:
    return f"dockerd takes orders on {listed_with_and(docker.daemon_json.exposed)} without asking for a certificate"


def _is_private(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:  # a name
        return False
    return found.is_private and not found.is_unspecified


# Seen with Engine 29.7.2 (tests/scenarios/test_engine_29.py), and what mailcow's netfilter container does by its own code.
NFTABLES = (
    "Docker keeps its rules in nftables (firewall-backend), for which mailcow is not made: mail comes in as it should, but "
    "forwarding is not Docker's to switch on, there is no chain DOCKER-USER, what iptables' FORWARD drops stays dropped, and "
    "mailcow's ban list goes into iptables-legacy, for which the kernel needs ip_tables"
)


def _doubts(docker: Docker) -> list[tuple[str, str]]:
    found = []
    if docker.setting("firewall-backend") == "nftables":
        found.append((NFTABLES, 'take "firewall-backend" out, so that Docker uses iptables'))
    if docker.daemon_json.exposed:
        found.append((f"{_open_to(docker)}: whoever reaches that private network is root on this machine", OPEN))
    if docker.daemon_json.log_remote:
        found.append(
            (
                f"the log driver {docker.setting('log-driver')} connects to its server before a container starts: while that "
                "does not answer, no container of mailcow's starts, after a reboot either",
                "look whether it answers, or let it connect later (fluentd-async), or take a driver that needs no server",
            )
        )
    return found


def _observed(docker: Docker, answer: Answer | None) -> str:
    file = docker.daemon_json
    if file.state == "absent":
        return f"no {file.path}"
    left = f" ({', '.join(file.unresolved)} was not checked)" if file.unresolved else ""
    if answer is not None and answer.refused is False:
        return f"dockerd takes {file.path}{left}"
    why = f": {answer.reason}" if answer and answer.reason else ""
    return f"{file.path} by cowgate's own table (dockerd was not asked{why}){left}"


ROW = Requirement(
    id="docker.configuration",
    title="Docker starts with its configuration and runs mailcow with it",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("asked", "services"),
    judge=judge,
)
