"""The compose override against Compose itself (Debian 13's and sid's), and mailcow's network in a Docker of the test's own.

Nothing here is mailcow's: the checkout is two idle containers in a network of the same shape.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from cowgate.changes.values import EditFile
from cowgate.facts import docker as docker_source
from cowgate.facts.collection import Facts
from cowgate.facts.docker import Docker, Network, Project
from cowgate.facts.fact import Fact
from cowgate.facts.interfaces import Interface, Interfaces, Route
from cowgate.facts.mailcow import collect
from cowgate.formats import compose, env
from cowgate.formats.composefiles import OVERRIDES, Model, parse_model
from cowgate.formats.editors import edit
from cowgate.machine.host import Host
from cowgate.model import Phase, Status, Verdict
from cowgate.policy.model import Policy
from cowgate.requirements.installed import is_own
from cowgate.requirements.mailcow import leftovers as mailcow_leftovers
from cowgate.requirements.mailcow.lock import LOCK_MESSAGE, lock_changes, unlock_changes
from cowgate.requirements.mailcow.shared import mailcow_network, recreate_commands
from cowgate.requirements.network import subnets as network_subnets
from cowgate.requirements.network.mtu import plan as network_mtu
from cowgate.requirements.network.mtu import stale_network
from tests.fuzz.overrides import Maker
from tests.lab import compose_plugin
from tests.lab.netns import Namespace
from tests.lab.process import Result, run, stop, wait_until
from tests.lab.trees import install_host_packages, lab_dir
from tests.unit.formats.test_compose import MERGES, REFUSED

SUITES = ("trixie", "sid")
MADE_UP = 400 if os.environ.get("COWGATE_LONG") else 40
IMAGE = "lab/idle"
NAME = "mailcowdockerized_mailcow-network"
MTU = 1400

BASE = f"""\
services:
  unbound-mailcow:
    image: {IMAGE}
    command: [sleep, "86400"]
    stop_grace_period: 0s
    volumes: ["vmail-vol-1:/kept"]
    networks:
      mailcow-network: {{ipv4_address: "${{IPV4_NETWORK:-172.22.1}}.254"}}
  nginx-mailcow:
    image: {IMAGE}
    command: [sleep, "86400"]
    stop_grace_period: 0s
    networks: [mailcow-network]
networks:
  mailcow-network:
    driver: bridge
    driver_opts:
      com.docker.network.bridge.name: br-mailcow
    enable_ipv6: ${{ENABLE_IPV6:-true}}
    ipam:
      driver: default
      config:
        - subnet: ${{IPV4_NETWORK:-172.22.1}}.0/24
        - subnet: ${{IPV6_NETWORK:-fd4d:6169:6c63:6f77::/64}}
volumes:
  vmail-vol-1:
"""


@dataclass
class Checkout:
    """A directory like a clone of mailcow, before generate_config.sh ran."""

    path: str
    name: str = "docker-compose.override.yml"

    @property
    def override(self) -> Optional[str]:
        try:
            with open(f"{self.path}/{self.name}", "rb") as file:
                return file.read().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None

    @override.setter
    def override(self, text: Optional[str]) -> None:
        path = f"{self.path}/{self.name}"
        if text is None:
            Path(path).unlink(missing_ok=True)
        else:
            with open(path, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))

    def write_conf(self, more: str = "") -> None:
        with open(f"{self.path}/mailcow.conf", "w") as file:
            file.write("COMPOSE_PROJECT_NAME=mailcowdockerized\n" + more)

    def facts(self, mtu: int, networks: tuple[Network, ...] = ()) -> Facts:
        """Facts whose mailcow part is collected here, on a machine whose only link has that MTU."""
        link = Interfaces((Interface("eth0", mtu, True),), (), (Route(4, "default", "eth0", "192.0.2.1"),))
        projects = (Project("mailcowdockerized", 2, 2, 1, self.path),) if networks else ()
        docker = Docker(running=True, compose="native", networks=networks, projects=projects)
        mailcow = collect(Host(), Policy(install_dir=self.path))
        return Facts({"mailcow": mailcow, "interfaces": Fact.of(link), "docker": Fact.of(docker)})

    def others(self) -> set[str]:
        """What a checkout has beside mailcow's own files: the override, and mailcow.conf."""
        conf = {"mailcow.conf"} if os.path.exists(f"{self.path}/mailcow.conf") else set()
        return {self.name.partition("/")[0], *conf}

    def apply(self, changes: Iterator[Any]) -> int:
        """Do to the override what the plan says; how many edits it had."""
        count = 0
        for change in changes:
            assert isinstance(change, EditFile) and change.path == f"{self.path}/{self.name}"
            self.override = edit(change.editor, self.override, change.args)
            count += 1
        return count


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "docker-compose.yml").write_text(BASE)
    (tmp_path / ".env").symlink_to("mailcow.conf")
    return Checkout(str(tmp_path))


def ask(suite: str, checkout: Checkout, *words: str, **env: str) -> Result[str]:
    # a socket that is not there: nothing that gets past the lock may reach a real daemon
    environment = {"DOCKER_HOST": "unix:///nonexistent/docker.sock", **env}
    return run([compose_plugin.compose(suite), *words], cwd=checkout.path, env=environment, timeout=30)


def config(suite: str, checkout: Checkout, text: Optional[str]) -> Any:
    """What Compose makes of the checkout with that override; None where it refuses."""
    checkout.override = text
    said = ask(suite, checkout, "config", "--format", "json")
    return json.loads(said.stdout) if said.returncode == 0 else None


def agree(suite: str, checkout: Checkout, before: Optional[str], after: str) -> bool:
    """Whether Compose takes both files, and sees the MTU and no other difference. False where it refuses them."""
    merged, original = config(suite, checkout, after), config(suite, checkout, before)
    if merged is None:
        assert original is None, "Compose took the file before it was edited"
        return False
    options = merged["networks"]["mailcow-network"]["driver_opts"]
    assert options.pop(compose.MTU_KEY) == "1450"
    if original is not None:
        original["networks"]["mailcow-network"].get("driver_opts", {}).pop(compose.MTU_KEY, None)
        assert merged == original
    return True


@pytest.mark.parametrize("suite", SUITES)
def test_what_compose_takes_and_mailcow_does_not_run_with(suite: str, checkout: Checkout) -> None:
    def model(text: str) -> Model:
        found = parse_model(json.dumps(config(suite, checkout, text)), "mailcow-network", compose.MTU_KEY, compose.BRIDGE_KEY)
        assert found is not None
        return found

    profile = "services:\n  nginx-mailcow:\n    profiles: [web]\n"
    assert model(profile).services == ("unbound-mailcow",)
    checkout.write_conf("COMPOSE_PROFILES=web\n")
    assert model(profile).services == ("nginx-mailcow", "unbound-mailcow")
    assert model("networks:\n  mailcow-network:\n    internal: true\n").internal and not model(profile).internal


@pytest.mark.parametrize("suite", SUITES)
def test_compose_agrees_on_every_fixture(suite: str, checkout: Checkout) -> None:
    refused = {name for name, (before, after) in MERGES.items() if not agree(suite, checkout, before, after)}
    assert refused == {"keys that are no strings"}, "the fixtures that Compose refuses before and after"


@pytest.mark.parametrize("suite", SUITES)
def test_compose_stops_at_what_is_called_broken(suite: str, checkout: Checkout) -> None:
    for name, (text, _, _, broken) in REFUSED.items():
        if broken:
            assert config(suite, checkout, text) is None, name


@pytest.mark.parametrize("suite", SUITES)
def test_compose_agrees_on_made_up_files(suite: str, checkout: Checkout) -> None:
    taken = 0
    for seed in range(MADE_UP):
        text = Maker(seed).make().text
        try:
            taken += agree(suite, checkout, text, compose.set_mtu(text, 1450))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\n{text}") from error
    assert taken >= MADE_UP * 0.95


@pytest.mark.parametrize("suite", SUITES)
def test_an_empty_result_is_no_error(suite: str, checkout: Checkout) -> None:
    """An override that was there and empty stays so; Compose takes it like none."""
    without = config(suite, checkout, None)
    assert without is not None and without == config(suite, checkout, "") == config(suite, checkout, "# mine\n")


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(
    "name", ["no file", "comments only", "number", "BOM and CRLF", "JSON over lines", "merge key gives driver_opts"]
)
def test_the_lock_stops_compose(suite: str, name: str, checkout: Checkout) -> None:
    checkout.override = before = MERGES[name][0]
    assert checkout.apply(lock_changes(checkout.facts(1500), Policy(install_dir=checkout.path))) == 1
    facts = checkout.facts(1500)
    assert facts.mailcow.value.override.locked and not facts.mailcow.value.installed
    for conf in (False, True):
        if conf:
            checkout.write_conf()
        for words in (
            ("config",),
            ("config", "--quiet"),
            ("up", "-d"),
            ("pull",),
            ("create",),
            ("run", "nginx-mailcow"),
            ("build",),
        ):
            said = ask(suite, checkout, *words)
            assert said.returncode != 0 and LOCK_MESSAGE in said.stderr, (words, said.stderr)
        assert ask(suite, checkout, "config", "--quiet", COWGATE_READY="1").returncode == 0
    assert checkout.apply(lock_changes(checkout.facts(1500), Policy(install_dir=checkout.path))) == 0, (
        "mailcow.conf is there now"
    )
    assert checkout.apply(unlock_changes(checkout.facts(1500), Policy(install_dir=checkout.path))) == 1
    assert checkout.override == before
    assert ask(suite, checkout, "config", "--quiet").returncode == 0
    assert checkout.apply(unlock_changes(checkout.facts(1500), Policy(install_dir=checkout.path))) == 0


@pytest.mark.parametrize("suite", SUITES)
def test_compose_file_in_mailcow_conf_decides_what_is_read(suite: str, checkout: Checkout) -> None:
    checkout.write_conf("COMPOSE_FILE=docker-compose.yml\n")
    text = MERGES["number"][1]
    seen = config(suite, checkout, text)
    assert compose.MTU_KEY not in seen["networks"]["mailcow-network"]["driver_opts"]
    assert checkout.facts(1500).mailcow.value.setting("COMPOSE_FILE") == "docker-compose.yml"
    checkout.write_conf("COMPOSE_FILE=docker-compose.yml:docker-compose.override.yml\n")
    assert config(suite, checkout, text)["networks"]["mailcow-network"]["driver_opts"][compose.MTU_KEY] == "1450"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The Compose of the suite that the test names is the one that the collector finds; its path."""
    path = compose_plugin.compose(request.param)
    monkeypatch.setattr("cowgate.facts.mailcow.PLUGIN_DIRECTORIES", (os.path.dirname(path),))
    return path


OWNERS = """\
# the owner's
services:
  nginx-mailcow:
    ports: !override
      - "127.0.0.1:8443:443"
networks:
  mailcow-network:
    name: ${NET:-letters}
volumes:
  vmail-vol-1:
    driver_opts: {type: none, device: /srv/mail, o: bind}
"""


@pytest.mark.parametrize("installed", SUITES, indirect=True)
@pytest.mark.parametrize("name", [*OVERRIDES, "sub/mine.yml"])
def test_the_owners_override_stays_in_force(installed: str, name: str, checkout: Checkout) -> None:
    """Under each of the names that Compose knows, and where COMPOSE_FILE says: what it means before and after the edit is the
    same but for the MTU, and the lock comes and goes without a trace."""
    checkout.name = name
    os.makedirs(os.path.dirname(f"{checkout.path}/{name}"), exist_ok=True)
    if "/" in name:
        checkout.write_conf(f"COMPOSE_FILE=docker-compose.yml:{name}\n")
    checkout.override = OWNERS
    before = model(installed, checkout)
    assert before["volumes"]["vmail-vol-1"]["driver_opts"]["device"] == "/srv/mail"
    mailcow = checkout.facts(MTU).mailcow.value
    assert mailcow.override_path == f"{checkout.path}/{name}" and mailcow.override.compose_error == ""
    assert mailcow.network_name == "letters" and mailcow.model is not None and mailcow.model.ports[0].published == "8443"
    assert checkout.apply(network_mtu(checkout.facts(MTU), Policy(install_dir=checkout.path), Phase.INSTALL)) == 1
    after = model(installed, checkout)
    assert after["networks"]["mailcow-network"]["driver_opts"].pop(compose.MTU_KEY) == str(MTU)
    assert after == before
    assert sorted(os.listdir(checkout.path)) == sorted({".env", "docker-compose.yml", *checkout.others()})
    edited = checkout.override
    if "/" in name:  # mailcow.conf is there, and no lock is placed any more
        checkout.override = compose.lock(edited, LOCK_MESSAGE)
    else:
        assert checkout.apply(lock_changes(checkout.facts(MTU), Policy(install_dir=checkout.path))) == 1
    assert LOCK_MESSAGE in run([installed, "config"], cwd=checkout.path, timeout=30).stderr
    assert checkout.facts(MTU).mailcow.value.override.locked
    assert checkout.apply(unlock_changes(checkout.facts(MTU), Policy(install_dir=checkout.path))) == 1
    assert checkout.override == edited


def model(program: str, checkout: Checkout) -> Any:
    environment = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    said = run([program, "config", "--format", "json"], cwd=checkout.path, env=environment, timeout=30, check=True)
    return json.loads(said.stdout)


@pytest.mark.parametrize("installed", SUITES, indirect=True)
def test_the_files_that_compose_takes(installed: str, checkout: Checkout) -> None:
    """All names at once, then one name less, and so on: our own rule says the same as Compose."""
    names = list(OVERRIDES)
    for name in names:
        Path(checkout.path, name).write_text(f"x-taken: {name}\n")
    for name in names:
        found = checkout.facts(1500).mailcow.value
        assert model(installed, checkout)["x-taken"] == name == os.path.basename(found.override_path)
        assert [os.path.basename(path) for path in found.ignored] == names[names.index(name) + 1 :]
        os.unlink(f"{checkout.path}/{name}")
    for name in ("docker-compose.yaml", "compose.yml", "compose.yaml"):
        Path(checkout.path, name).write_text(BASE + f"x-taken: {name}\n")
        taken = model(installed, checkout).get("x-taken", "docker-compose.yml")
        assert taken == os.path.basename(checkout.facts(1500).mailcow.value.files[0])


@pytest.mark.parametrize("installed", SUITES, indirect=True)
@pytest.mark.parametrize("directory", ["mailcow-dockerized", "My Mail.Cow", "_Post-_1"])
@pytest.mark.parametrize(
    ("conf", "override"),
    [
        ("A=1\n", ""),
        ("COMPOSE_PROJECT_NAME=post\n", ""),
        ("N=Me\n", "name: ${N}-x\n"),
        ("COMPOSE_PROJECT_NAME=a\n", "name: b\n"),
    ],
)
def test_the_project_is_named_as_compose_names_it(
    installed: str, directory: str, conf: str, override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / directory
    path.mkdir()
    (path / "docker-compose.yml").write_text(BASE)
    (path / ".env").symlink_to("mailcow.conf")
    (path / "mailcow.conf").write_text(conf)
    (path / "docker-compose.override.yml").write_text(override)
    asked = collect(Host(), Policy(install_dir=str(path))).value
    monkeypatch.setattr("cowgate.facts.mailcow.PLUGIN_DIRECTORIES", ())
    alone = collect(Host(), Policy(install_dir=str(path))).value
    assert asked.model is not None and asked.project_name == model(installed, Checkout(str(path)))["name"]
    assert (alone.project, alone.network_name) == (asked.project_name, asked.network_name), "our own parser agrees"


@pytest.mark.parametrize("installed", SUITES, indirect=True)
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/c.yml", "https://127.0.0.1:{port}/c.git", "oci://127.0.0.1:{port}/c:1"]
)
def test_nothing_is_fetched_for_an_include(installed: str, url: str, checkout: Checkout) -> None:
    """Compose 2.40 fetches it; a look sends nothing, and leaves nothing in a cache."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        checkout.override = f"include:\n  - {url.format(port=server.getsockname()[1])}\n"
        found = checkout.facts(1500).mailcow.value
        assert os.path.exists(installed)
        with pytest.raises(TimeoutError):
            server.accept()
    assert found.model is None and (found.override.not_asked or found.override.compose_error)


@pytest.mark.parametrize("installed", SUITES, indirect=True)
@pytest.mark.parametrize("secret", ['PASS="hunter2', "PASS word hunter2", "hunter2 x", "PASS=hunter2\nP${hunter2"])
def test_what_compose_quotes_stays_out_of_the_facts(installed: str, secret: str, checkout: Checkout) -> None:
    Path(checkout.path, "secret.env").write_text(secret + "\n")
    checkout.override = "services:\n  nginx-mailcow:\n    env_file: [secret.env]\n"
    found = checkout.facts(1500)
    assert "hunter2" not in json.dumps(found.to_json())
    refused = run([installed, "config", "--quiet"], cwd=checkout.path, timeout=30).returncode != 0
    assert bool(found.mailcow.value.override.compose_error) is refused


@pytest.mark.parametrize("installed", SUITES, indirect=True)
def test_a_service_that_is_nothing_is_named(installed: str, checkout: Checkout) -> None:
    checkout.override = "services:\n  stray: {labels: [a]}\n"
    said = checkout.facts(1500).mailcow.value.override.compose_error
    assert os.path.exists(installed) and said == "the service stray has neither an image nor a build context"


@pytest.mark.parametrize("installed", SUITES, indirect=True)
@pytest.mark.parametrize(
    "value", ["8080\t# c", "8080 # c", " # c", "8080#c", "${A}:25", "2525-2526", "'$A'", '"$A"', "${N:-7}"]
)
def test_mailcow_conf_is_read_as_compose_reads_it(installed: str, value: str, checkout: Checkout) -> None:
    text = f"A=192.0.2.1\nV={value}\n"
    checkout.write_conf(text)
    checkout.override = "services:\n  nginx-mailcow:\n    labels: {v: '${V}'}\n"
    labels = model(installed, checkout)["services"]["nginx-mailcow"]["labels"]
    assert env.values(env.parse(text)[0])["V"] == labels["v"].replace("$$", "$"), "it prints a dollar sign twice"


# -- with a Docker of our own ----------------------------------------------------------------------------------------------


@dataclass
class Lab:
    """A Docker Engine in a network namespace of its own, with one image."""

    namespace: Namespace
    directory: str

    def docker(self, *words: str, suite: str = "trixie", check: bool = True, input: Optional[str] = None) -> str:
        environment = {
            "DOCKER_HOST": f"unix://{self.directory}/sock",
            "DOCKER_CONFIG": os.path.dirname(compose_plugin.plugin_dir(suite)),
        }
        argv = words if words[0] in ("env", "docker") else ("docker", *words)
        return run(argv, env=environment, timeout=120, check=check, input=input).stdout

    def inspect(self) -> dict[str, Any]:
        (network,) = json.loads(self.docker("network", "inspect", NAME))
        found: dict[str, Any] = network
        return found

    def bridge_mtu(self) -> int:
        (link,) = json.loads(self.namespace.ip("-json", "link", "show", "br-mailcow"))
        return int(link["mtu"])

    def container_mtu(self, service: str) -> int:
        return int(self.docker("exec", f"mailcowdockerized-{service}-1", "cat", "/sys/class/net/eth0/mtu"))

    def network_fact(self) -> Network:
        seen = self.inspect()
        mtu = seen["Options"].get(compose.MTU_KEY)
        return Network(NAME, seen["Driver"], bridge="br-mailcow", mtu=int(mtu) if mtu else None)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    install_host_packages("docker.io", "busybox-static", "iptables")
    directory = tempfile.mkdtemp(prefix="docker.", dir=lab_dir())
    with Namespace() as namespace:
        daemon = namespace.start(
            [
                "dockerd",
                f"--data-root={directory}/data",
                f"--exec-root={directory}/exec",
                f"--pidfile={directory}/pid",
                f"--host=unix://{directory}/sock",
            ],
            log=f"{directory}/log",
        )
        try:
            found = Lab(namespace, directory)
            wait_until(lambda: found.docker("version", check=False).count("Version") > 2, "dockerd", 60)
            _import_image(found)
            yield found
        finally:
            stop(daemon, patience=60)
            _unmount(directory)
            shutil.rmtree(directory)


def _import_image(lab: Lab) -> None:
    root = f"{lab.directory}/image"
    os.makedirs(f"{root}/bin")
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for name in ("sh", "sleep", "cat"):
        os.symlink("busybox", f"{root}/bin/{name}")
    subprocess.run(["tar", "-C", root, "-cf", f"{lab.directory}/image.tar", "."], check=True, timeout=60)
    lab.docker("import", f"{lab.directory}/image.tar", IMAGE)


def _unmount(directory: str) -> None:
    """What a killed daemon may have left mounted below its own directory."""
    with open("/proc/self/mounts") as mounts:
        places = [line.split()[1] for line in mounts]
    for place in sorted((p for p in places if p.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, timeout=60)


@pytest.fixture
def up(lab: Lab, checkout: Checkout) -> Iterator[Checkout]:
    """A checkout with a mailcow.conf; what it started is gone afterwards."""
    checkout.write_conf()
    try:
        yield checkout
    finally:
        checkout.override = None
        lab.docker("compose", "--project-directory", checkout.path, "down", "-v", "-t", "0", check=False)


def test_bridge_and_container_get_the_mtu(lab: Lab, up: Checkout) -> None:
    up.override = "# mine\nnetworks:\n  mailcow-network:\n    labels: {kept: 'yes'}\n"
    assert up.apply(network_mtu(up.facts(MTU), Policy(install_dir=up.path), Phase.INSTALL)) == 1
    lab.docker("compose", "--project-directory", up.path, "up", "-d")
    seen = lab.inspect()
    assert seen["Options"] == {"com.docker.network.bridge.name": "br-mailcow", compose.MTU_KEY: str(MTU)}
    assert seen["EnableIPv6"] and seen["Labels"]["kept"] == "yes"
    assert [c["Subnet"] for c in seen["IPAM"]["Config"]] == ["172.22.1.0/24", "fd4d:6169:6c63:6f77::/64"]
    assert lab.bridge_mtu() == MTU
    assert lab.container_mtu("unbound-mailcow") == lab.container_mtu("nginx-mailcow") == MTU
    policy = Policy(install_dir=up.path)
    assert stale_network(up.facts(MTU, (lab.network_fact(),)), policy) == ""


def test_an_existing_network_keeps_its_mtu_until_it_is_made_anew(lab: Lab, up: Checkout) -> None:
    policy = Policy(install_dir=up.path)
    lab.docker("compose", "--project-directory", up.path, "up", "-d")
    assert lab.bridge_mtu() == lab.container_mtu("nginx-mailcow") == 1500, "the control: without the override"
    lab.docker("exec", "mailcowdockerized-unbound-mailcow-1", "sh", "-c", "echo letters > /kept/mail")
    assert up.apply(network_mtu(up.facts(MTU), policy, Phase.INSTALL)) == 1
    # Compose before 2.32 does not notice that the network would be another one
    lab.docker("compose", "--project-directory", up.path, "up", "-d")
    assert lab.bridge_mtu() == 1500
    facts = up.facts(MTU, (lab.network_fact(),))
    assert f"Docker made the network {NAME} with 1500 bytes" in stale_network(facts, policy)
    for command in recreate_commands(facts):
        lab.docker(*command)
    assert lab.bridge_mtu() == lab.container_mtu("nginx-mailcow") == MTU
    assert lab.docker("exec", "mailcowdockerized-unbound-mailcow-1", "cat", "/kept/mail") == "letters\n", "volumes stay"
    assert stale_network(up.facts(MTU, (lab.network_fact(),)), policy) == ""


def test_a_lower_bound_for_ipv6_works_in_docker(lab: Lab, up: Checkout) -> None:
    """1280, the least that cowgate sets with IPv6 on, still gives the container its IPv6 address."""
    assert up.apply(network_mtu(up.facts(1200), Policy(install_dir=up.path), Phase.INSTALL)) == 1
    lab.docker("compose", "--project-directory", up.path, "up", "-d")
    assert lab.bridge_mtu() == lab.container_mtu("nginx-mailcow") == 1280
    addresses = lab.docker("exec", "mailcowdockerized-unbound-mailcow-1", "cat", "/proc/net/if_inet6")
    assert "fd4d61696c636f77" in addresses


def docker_facts(lab: Lab, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The facts with what the lab's daemon says of its containers, volumes and networks."""
    monkeypatch.setattr("cowgate.facts.docker.SOCKET", f"{lab.directory}/sock")
    policy = Policy(install_dir=checkout.path)
    return checkout.facts(1500).updated(Facts({"docker": docker_source.collect(Host(), policy)}))


def leftovers(facts: Facts) -> Verdict:
    return mailcow_leftovers.judge(facts, Policy(), Phase.INSTALL)


def test_whose_a_container_is_docker_tells(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No COMPOSE_PROJECT_NAME in mailcow.conf: Compose takes the directory's name. Its containers, volumes and network are
    mailcow's own as long as mailcow.conf is with them; without it, and for another directory, they are left-overs."""
    here, other = tmp_path / "Mail.Cow", tmp_path / "mailcow-dockerized"
    for place in (here, other):
        place.mkdir()
        (place / "docker-compose.yml").write_text(BASE)
        (place / ".env").symlink_to("mailcow.conf")
    (here / "mailcow.conf").write_text("HTTP_PORT=80\nDBPASS=a\nDBROOT=b\n")
    try:
        lab.docker("compose", "--project-directory", str(here), "up", "-d")
        facts = docker_facts(lab, Checkout(str(here)), monkeypatch)
        assert facts.mailcow.value.project_name == "mailcow" and mailcow_network(facts) is not None
        assert leftovers(facts).status is Status.PASS and is_own(facts, "mailcow")
        assert network_subnets.judge(facts, Policy(), Phase.INSTALL).status is Status.PASS, "its own network is no conflict"
        elsewhere = leftovers(docker_facts(lab, Checkout(str(other)), monkeypatch))
        assert elsewhere.status is Status.FAIL and f"a mailcow runs from {here}" in elsewhere.diagnosis
        lab.docker("compose", "--project-directory", str(here), "down", "-t", "0")
        (here / "mailcow.conf").rename(tmp_path / "kept.conf")
        (here / "mailcow.conf").write_text("COMPOSE_PROJECT_NAME=mailcow\n")
        left = leftovers(docker_facts(lab, Checkout(str(here)), monkeypatch))
        assert left.status is Status.FAIL and "1 volume of the project mailcow" in left.diagnosis, (
            "the volume stays, with its database"
        )
        (tmp_path / "kept.conf").rename(here / "mailcow.conf")
        assert leftovers(docker_facts(lab, Checkout(str(here)), monkeypatch)).status is Status.PASS, "restored together"
    finally:
        lab.docker("compose", "--project-directory", str(here), "down", "-v", "-t", "0", check=False)
