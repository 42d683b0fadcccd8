"""What leads root's docker command elsewhere: contexts, password helpers, variables of every login."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.facts.dockerclient import CONFIG, ENVIRONMENT, Client, collect
from tests.unit.facts.machine import Machine


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("", Client()),
        ("{broken", Client()),
        ("[]", Client()),
        ("[" * 100_000, Client()),
        ('{"auths": {"ghcr.io": {"auth": "c2VjcmV0"}}}', Client()),
        ('{"currentContext": "default"}', Client()),
        ('{"currentContext": 7, "credsStore": null, "credHelpers": []}', Client()),
        ('{"currentContext": "old-server"}', Client(context="old-server")),
        ('{"credsStore": "pass"}', Client()),
        ('{"credsStore": "desktop"}', Client(helpers=("docker-credential-desktop",))),
        ('{"credHelpers": {"ghcr.io": "gh", "gcr.io": "gcloud"}}', Client(helpers=("docker-credential-gh",))),
    ],
)
def test_config(tmp_path: Path, config: str, found: Client) -> None:
    host = Machine(tmp_path, {CONFIG: config}, {"docker-credential-pass": ""})
    assert collect(host) == found


def test_variables(tmp_path: Path) -> None:
    text = "# COMPOSE_FILE=x\nDOCKER_HOST=\n  export COMPOSE_PROJECT_NAME='shop'\nDOCKER_CONTEXT=\"\"\nMY_DOCKER_HOST=x\n"
    assert collect(Machine(tmp_path, {ENVIRONMENT: text})).variables == ("COMPOSE_PROJECT_NAME",)
    assert collect(Machine(tmp_path / "2", {ENVIRONMENT: "DOCKER_HOST=tcp://10.0.0.9:2375\n"})).variables == ("DOCKER_HOST",)
