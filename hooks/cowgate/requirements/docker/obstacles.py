"""What rules mailcow out although dockerd starts: of daemon.json, of the Docker that runs, and of root's docker command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.facts.dockerclient import CONFIG, ENVIRONMENT
from cowgate.model import Verdict, failed
from cowgate.requirements.docker.shared import SNAPSHOTTERS
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Docker

EXPECTED = (
    "daemon.json and the options of docker.service are such that dockerd starts and runs mailcow's privileged containers"
)


def in_the_way(facts: Facts) -> Verdict | None:
    """The first of them; None where nothing is."""
    docker = facts.docker.value
    return _moved(facts) or _networks(docker) or _no_container(docker) or _client(docker)


def _moved(facts: Facts) -> Verdict | None:
    """What Docker has made is not there any more after its next start: the file was changed while it ran."""
    docker = facts.docker.value
    then, now, what = docker.next_data_root, docker.data_root, "data-root"
    lost = "containers, images and volumes (with the mail)"
    driver = docker.setting("storage-driver")
    if not then and docker.running and driver and driver != docker.driver and docker.driver not in SNAPSHOTTERS:
        then, now, what, lost = driver, docker.driver, "storage-driver", "containers and images"
    if not then:
        return None
    return failed(
        f"the Docker that runs has the {what} {now}, and its next start takes {then}: {lost} that are made until then will "
        "not be visible after it, or after a reboot",
        remedy=f"restart Docker before mailcow is installed; what it made until now stays in {now} (where that is to be kept, "
        f"set the {what} back to {now} first):"
        if not docker.containers
        else f"set the {what} back to {now}, or move: stop the containers, carry the data over, restart Docker",
        commands=restart(facts, "docker.service") if not docker.containers else (("cat", docker.daemon_json.path),),
        expected=EXPECTED,
        observed=f"{what} {now} now, {then} next",
    )


# What mailcow's network would get by "default-network-opts", and what is wrong with it; "" stands for any value but these.
_BRIDGE = "com.docker.network.bridge."
_PUBLISHED = "mailcow's published ports are not reached from outside"
_NETWORK_OPTIONS = (
    (f"{_BRIDGE}host_binding_ipv4", ("", "0.0.0.0"), "mailcow's ports are published on that address alone"),
    (f"{_BRIDGE}gateway_mode_ipv4", ("", "nat"), _PUBLISHED),
    (f"{_BRIDGE}gateway_mode_ipv6", ("", "nat"), f"{_PUBLISHED} over IPv6"),
    (f"{_BRIDGE}enable_ip_masquerade", ("", "true", "1"), "mailcow's containers reach nothing outside"),
    (f"{_BRIDGE}enable_icc", ("", "true", "1"), "mailcow's containers do not reach each other"),
)


def _networks(docker: Docker) -> Verdict | None:
    given = dict(option.partition("=")[::2] for option in docker.daemon_json.network_opts)
    for name, harmless, consequence in _NETWORK_OPTIONS:
        value = given.get(name, "")
        if value not in harmless:
            return failed(
                f'"default-network-opts" in {docker.daemon_json.path} sets {name} to {value} for every new network: '
                f"{consequence}",
                remedy="take it out and restart Docker, or set it for the networks that need it alone (a network that is "
                "there keeps what it has)",
                commands=(("cat", docker.daemon_json.path),),
                expected=EXPECTED,
                observed=f"{name}={value}",
            )
    return None


def _no_container(docker: Docker) -> Verdict | None:
    """What each container's start needs."""
    driver = docker.setting("log-driver")
    if docker.daemon_json.missing:
        return failed(
            f"{docker.daemon_json.path} names {listed_with_and(docker.daemon_json.missing)}, and there is no such program: "
            "dockerd starts, but no container does",
            remedy="install it, or take the key out of the file; then restart Docker",
            commands=(("cat", docker.daemon_json.path),),
            expected=EXPECTED,
            observed=f"without {listed_with_and(docker.daemon_json.missing)}",
        )
    if docker.daemon_json.seccomp:
        return failed(
            f'"seccomp-profile" in {docker.daemon_json.path}: {docker.daemon_json.seccomp}: dockerd starts, but no container '
            "does that is not privileged",
            remedy="correct the profile, or take the key out of the file (Docker has one of its own); then restart Docker",
            commands=(("cat", docker.daemon_json.path),),
            expected=EXPECTED,
            observed=docker.daemon_json.seccomp,
        )
    if not docker.daemon_json.log_unknown:
        return None
    return failed(
        f"the log driver {driver} is none of Docker's, and there is no plugin of that name: dockerd starts, but no container "
        "does",
        remedy="correct log-driver (json-file is Docker's own default), or install the plugin; then restart Docker",
        commands=(("cat", docker.daemon_json.path), ("docker", "plugin", "ls")),
        expected=EXPECTED,
        observed=f"log-driver {driver}",
    )


def _client(docker: Docker) -> Verdict | None:
    """root's docker command talks to another daemon, cannot pull, or has variables that win over mailcow.conf."""
    client = docker.client
    if client.context:
        return failed(
            f"root's docker command uses the context {client.context} (currentContext in {CONFIG}): mailcow's scripts would "
            "start its containers there, and not in the Docker of this machine",
            remedy="go back to the daemon of this machine:",
            commands=(("docker", "context", "use", "default"),),
            expected=EXPECTED,
            observed=f"context {client.context}",
        )
    if client.helpers:
        return failed(
            f"{CONFIG} lets {listed_with_and(client.helpers)} keep the passwords of registries, and there is no such program: "
            "Docker pulls no image",
            remedy="install it, or take credsStore (and the line in credHelpers) out of the file:",
            commands=(("nano", CONFIG),),
            expected=EXPECTED,
            observed=f"without {listed_with_and(client.helpers)}",
        )
    if client.variables:
        return failed(
            f"{ENVIRONMENT} sets {listed_with_and(client.variables)} for every login: mailcow's update.sh, run by hand, then "
            "asks another Docker, or another Compose project than this one, with empty volumes",
            remedy="remove it there, and log in again:",
            commands=(("nano", ENVIRONMENT),),
            expected=EXPECTED,
            observed=listed_with_and(client.variables),
        )
    return None
