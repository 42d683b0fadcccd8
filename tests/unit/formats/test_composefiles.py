"""Which files Compose takes, and what its answers mean; Compose itself is asked in tests/scenarios/test_compose.py."""

from __future__ import annotations

import json

import pytest

from cowgate.formats.composefiles import (
    BASES,
    OVERRIDES,
    ComposeFiles,
    ModelPort,
    files_of,
    fill,
    normal_name,
    parse_model,
    project_of,
    refusal_of,
)

D = "/opt/mailcow-dockerized"


def found(*names: str, there: tuple[str, ...] = (), **values: str) -> ComposeFiles:
    paths = {f"{D}/{name}" for name in names} | set(there)
    return files_of(D, names, values, paths.__contains__)


@pytest.mark.parametrize("name", OVERRIDES)
def test_every_override_name_is_found(name: str) -> None:
    files = found("docker-compose.yml", "README.md", name)
    assert files == ComposeFiles((f"{D}/docker-compose.yml", f"{D}/{name}"), f"{D}/{name}")


@pytest.mark.parametrize("first", range(len(OVERRIDES)))
def test_only_the_first_override_is_read(first: int) -> None:
    names = OVERRIDES[first:]
    files = found("docker-compose.yml", *reversed(names))
    assert files.override == f"{D}/{names[0]}"
    assert files.ignored == tuple(f"{D}/{name}" for name in names[1:])


def test_without_one_the_usual_name_is_made() -> None:
    assert found("docker-compose.yml") == ComposeFiles((f"{D}/docker-compose.yml",), f"{D}/docker-compose.override.yml")


def test_a_base_before_mailcows_hides_it() -> None:
    files = found(*BASES)
    assert files.read == (f"{D}/compose.yaml",) and f"{D}/docker-compose.yml" in files.ignored


def test_compose_file_says_what_is_read() -> None:
    files = found("docker-compose.yml", "mine.yml", OVERRIDES[0], COMPOSE_FILE="docker-compose.yml:mine.yml")
    left_out = (f"{D}/{OVERRIDES[0]}",)
    assert files == ComposeFiles((f"{D}/docker-compose.yml", f"{D}/mine.yml"), f"{D}/mine.yml", left_out)
    turned = found("docker-compose.yml", "mine.yml", COMPOSE_FILE="mine.yml:docker-compose.yml")
    assert turned.override == f"{D}/mine.yml", "mailcow's own file is never the one to edit"
    other = found(
        "docker-compose.yml", there=("/srv/o.yml",), COMPOSE_FILE="docker-compose.yml,/srv/o.yml", COMPOSE_PATH_SEPARATOR=","
    )
    assert other.read[1] == other.override == "/srv/o.yml" and not other.missing


def test_compose_file_without_a_second_file_or_with_one_that_is_missing() -> None:
    assert found("docker-compose.yml", COMPOSE_FILE="docker-compose.yml").override == ""
    assert found("docker-compose.yml", COMPOSE_FILE="docker-compose.yml:gone.yml").missing == (f"{D}/gone.yml",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A", "1"),
        ("${A}:25", "1:25"),
        ("${B:-2}", "2"),
        ("${E:-2}", "2"),
        ("${E-2}", ""),
        ("${B}", ""),
        ("$$A", "$A"),
        ("a$", "a$"),
    ],
)
def test_variables_are_filled_in(text: str, expected: str) -> None:
    assert fill(text, {"A": "1", "E": ""}) == expected


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("/opt/mailcow-dockerized", "mailcow-dockerized"),
        ("/srv/_My Mail.Cow-_1", "mymailcow-_1"),
        ("/srv/MAIL", "mail"),
        ("/srv/-_x", "x"),
    ],
)
def test_the_project_is_named_after_the_directory(directory: str, expected: str) -> None:
    files = files_of(directory, ["docker-compose.yml"], {}, lambda _: True)
    assert project_of(directory, files, "", {}) == expected == normal_name(directory.rpartition("/")[2])


def test_what_names_the_project() -> None:
    files = found("docker-compose.yml", COMPOSE_FILE="sub/docker-compose.yml:b.yml")
    assert project_of(D, files, "", {}) == "sub"
    assert project_of(D, files, "${N}X", {"N": "Val"}) == "valx"
    assert project_of(D, files, "other", {"COMPOSE_PROJECT_NAME": "mine"}) == "mine"
    assert project_of(D, files, "other", {"COMPOSE_PROJECT_NAME": ""}) == "other"


def test_a_model_is_read() -> None:
    document = {
        "name": "m",
        "networks": {
            "mailcow-network": {
                "name": "m_mailcow-network",
                "driver_opts": {"mtu": "1400", "bridge": "br-mailcow"},
                "enable_ipv6": True,
                "ipam": {"config": [{"subnet": "172.22.1.0/24"}]},
            }
        },
        "services": {
            "b": {"ports": [{"published": "25-26", "target": 25, "protocol": "tcp", "host_ip": "::1"}, {"target": 9}]},
            "a": {"environment": {"DBPASS": "hunter2"}},
        },
    }
    model = parse_model(json.dumps(document), "mailcow-network", "mtu", "bridge")
    assert model is not None and "hunter2" not in repr(model)
    assert (model.project, model.network, model.mtu, model.bridge) == ("m", "m_mailcow-network", "1400", "br-mailcow")
    assert model.services == ("a", "b") and model.ports == (ModelPort("b", "::1", "25-26", "tcp", 25),) and model.ipv6


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"name": "x", "services": 1}', '{"name": 1, "networks": [1]}', "{"])
def test_what_is_no_model(text: str) -> None:
    assert parse_model(text, "mailcow-network", "mtu", "bridge") is None


# What Compose 2.26.1 and 2.40.3 said, word for word.
SAID = {
    'failed to read /o/secret.env: line 2: unexpected character "\\"" in variable name near "hunter2\\n"': "an env file has",
    "line 1: key cannot contain a space": "an env file has a line that is not KEY=value (line 1)",
    'service "stray" has neither an image nor a build context specified: invalid compose project': "the service stray has",
    'service "hunter2" has neither an image nor a build context specified': "a service has neither",
    "yaml: line 7: did not find expected key": "a file is not YAML that Compose reads (line 7)",
    "Invalid hostPort: hunter2": "a published port is not valid",
    "Invalid ip address :: address ::: too many colons in address": "a published port is not valid",
    'git remote resource is disabled by "COMPOSE_EXPERIMENTAL_GIT_REMOTE"': "it includes a file from the network",
    "read /opt/m: is a directory": "a file that it reads is a directory",
    "stat /opt/m/hunter2.yml: no such file or directory": "a file that it reads does not exist",
    'invalid project name "Ab.C": must consist only of lowercase': "the project's name is not allowed",
    "hunter2": "it gives a reason that cowgate does not know",
}


@pytest.mark.parametrize("said", SAID)
def test_a_refusal_is_told_in_our_own_words(said: str) -> None:
    refusal = refusal_of(said, {"stray", "nginx-mailcow"})
    assert refusal.text.startswith(SAID[said]) and "hunter2" not in refusal.text
    assert refusal.remote == ("remote" in said)
