"""Docker Engine and Compose out of Debian 13's own packages, on a root that has neither."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.bare import Bare

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
COWGATE = "/root/hooks/cowgate.sh"


def test_the_distributions_docker_is_installed_once() -> None:
    with Bare("trixie-bare", copy={HOOKS: "/root/hooks"}) as machine:
        machine.run([COWGATE, "--setup", "--yes"], network=True, check=True)
        run = [COWGATE, "run", "--phase", "build", "--offline", "--only", "docker.engine,docker.compose", "--yes"]
        done = machine.run([*run, "--format", "json"], network=True)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = {row["id"]: row for row in json.loads(done.stdout)["rows"]}
        assert {id: row["status"] for id, row in rows.items()} == {"docker.engine": "fixed", "docker.compose": "fixed"}
        packages = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "docker.io", "docker-cli", "docker-compose"]
        before = machine.run(packages, check=True).stdout
        assert before.count("\n") == 3
        again = machine.run([*run, "--format", "json"])  # without a network
        assert {row["status"] for row in json.loads(again.stdout)["rows"]} == {"pass"}
        assert machine.run(packages).stdout == before
