"""What the next start of dockerd reads: daemon.json by its one reader, and the options in its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest

from cowgate.facts import dockerd
from cowgate.facts.asked import validate
from cowgate.formats import daemonjson
from tests.unit.facts.machine import Machine, put

DEBIAN = """\
[Service]
Type=notify
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
"""


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (None, ""),
        ("", ""),
        ("{broken", ""),
        ("[]", ""),
        ('{"data-root": 1}', ""),
        ('{"data-root": "relative"}', ""),
        ('{"data-root": "/mnt/docker/"}', "/mnt/docker"),
        ('\ufeff{"data-root": "/srv/docker"}', "/srv/docker"),
        ('{"graph": "/old/docker"}', ""),  # dockerd refuses it, so nothing will be there
    ],
)
def test_data_root(text: Optional[str], path: str) -> None:
    assert daemonjson.data_root(daemonjson.read(text)) == path


UNIT = "/lib/systemd/system/docker.service"
DEFAULT = ("-H", "fd://", "--containerd=/run/containerd/containerd.sock")
EMPTIED = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd \\\n --ip6tables=false\n"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ()),
        ({UNIT: DEBIAN}, DEFAULT),
        (
            {UNIT: DEBIAN, "/etc/default/docker": '# x\nDOCKER_OPTS="--iptables=false --mtu 1400"\n'},
            (*DEFAULT, "--iptables=false", "--mtu", "1400"),
        ),
        ({UNIT: DEBIAN, "/etc/systemd/system/docker.service.d/own.conf": EMPTIED}, ("--ip6tables=false",)),
        ({UNIT: DEBIAN, "/etc/systemd/system/docker.service": "[Service]\nExecStart=/x/dockerd -D\n"}, ("-D",)),
        ({"/etc/conf.d/docker": 'DOCKER_OPTS="--userns-remap=default"\n'}, ("--userns-remap=default",)),
    ],
)
def test_the_command_line_of_the_next_start(tmp_path: Path, files: dict[str, str], words: tuple[str, ...]) -> None:
    assert dockerd.unit_words(Machine(tmp_path, files)) == words


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("-H", "fd://", "--containerd=/x"), ("containerd", "host")),
        (("--iptables=false", "--ip6tables"), ("ip6tables=true", "iptables=false")),
        (("--userns-remap", "default"), ("userns-remap=default",)),
        (("--log-opt", "splunk-token=secret"), ("log-opt",)),
        (("-D", "--mtu=1400", "x"), ("debug", "mtu")),
        (("--config-file", "/srv/d.json", "-D"), ("config-file=/srv/d.json", "debug")),
    ],
)
def test_options(words: tuple[str, ...], options: tuple[str, ...]) -> None:
    assert dockerd.long_options(words) == options


def test_the_file_comes_before_the_command_line() -> None:
    file = dockerd.parse(daemonjson.read('{"iptables": true}'))
    assert dockerd.setting(file, ("iptables=false",), "iptables") is True
    assert dockerd.setting(dockerd.DaemonJson(), ("iptables=0",), "iptables") is False
    assert dockerd.setting(dockerd.DaemonJson(), (), "iptables") is None
    assert dockerd.setting(dockerd.DaemonJson(), ("userns-remap=default",), "userns-remap") == "default"


@pytest.mark.parametrize(
    ("text", "files", "said"),
    [
        ('{"seccomp-profile": "/etc/docker/s.json"}', {}, "/etc/docker/s.json does not exist"),
        ('{"seccomp-profile": "/etc/docker/s.json"}', {"/etc/docker/s.json": "{}"}, ""),
        ('{"group": "wheels"}', {"/etc/group": "root:x:0:\nwheel:x:10:\n"}, "there is no group wheels"),
        ('{"bridge": "br9"}', {}, "there is no bridge br9, and dockerd makes docker0 alone"),
        ('{"authorization-plugins": ["opa"]}', {}, "there is no plugin opa"),
        ('{"authorization-plugins": ["opa"]}', {"/run/docker/plugins/opa.sock": ""}, ""),
        ('{"graph": "/x"}', {}, "dockerd has no such key (it is called data-root)"),
    ],
)
def test_what_it_asks_of_the_machine(tmp_path: Path, text: str, files: dict[str, str], said: str) -> None:
    host = Machine(tmp_path, {"/etc/group": "root:x:0:\n", **files, daemonjson.PATH: text})
    found = dockerd.daemon_json(host, (26, 1, 5), ())
    assert [problem.text for problem in found.problems] == ([said] if said else [])


@pytest.mark.parametrize(
    ("text", "files", "unknown", "remote"),
    [
        ('{"log-driver": "local"}', {}, False, False),
        ('{"log-driver": "loki"}', {}, True, False),
        ('{"log-driver": "loki"}', {"/etc/docker/plugins/loki.spec": "unix:///x"}, False, False),
        ('{"log-driver": "loki"}', {f"/var/lib/docker/plugins/{64 * 'a'}/config.json": "{}"}, False, False),
        ('{"log-driver": "fluentd"}', {}, False, True),
        ('{"log-driver": "fluentd", "log-opts": {"fluentd-async": "true"}}', {}, False, False),
        ('{"log-driver": "syslog"}', {}, False, False),
        ('{"log-driver": "syslog", "log-opts": {"syslog-address": "tcp+tls://10.0.0.2:6514"}}', {}, False, True),
        ('{"log-driver": "gelf", "log-opts": {"gelf-address": "udp://10.0.0.2:12201"}}', {}, False, False),
    ],
)
def test_log_drivers(tmp_path: Path, text: str, files: dict[str, str], unknown: bool, remote: bool) -> None:
    found = dockerd.daemon_json(Machine(tmp_path, {**files, daemonjson.PATH: text}), (26, 1, 5), ())
    assert (found.problems, found.log_unknown, found.log_remote) == ((), unknown, remote)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ('{"default-runtime": "x", "runtimes": {"x": {"path": "/opt/x"}}}', ("default-runtime: /opt/x",)),
        ('{"default-runtime": "x", "runtimes": {"x": {"path": "x-runtime"}}}', ("default-runtime: x-runtime",)),
        ('{"default-runtime": "x", "runtimes": {"x": {"path": "/opt/here"}}}', ()),
        ('{"default-runtime": "x", "runtimes": {"x": {"path": "here"}}}', ()),
        ('{"default-runtime": "runc", "runtimes": {"x": {"path": "/opt/x"}}}', ()),
        ('{"userland-proxy-path": "/opt/proxy"}', ("userland-proxy-path: /opt/proxy",)),
        ('{"userland-proxy-path": "/opt/proxy", "userland-proxy": false}', ()),
        ('{"init": true, "init-path": "/opt/tini"}', ("init-path: /opt/tini",)),
        ('{"init-path": "/opt/tini"}', ()),
    ],
)
def test_programs_of_each_start(tmp_path: Path, text: str, missing: tuple[str, ...]) -> None:
    host = Machine(tmp_path, {"/opt/here": "", daemonjson.PATH: text}, {"here": ""})
    assert dockerd.daemon_json(host, (26, 1, 5), ()).missing == missing


def test_options_of_new_networks() -> None:
    text = '{"default-network-opts": {"bridge": {"a": "b", "c": "d"}, "macvlan": {"e": "f"}}}'
    assert dockerd.parse(daemonjson.read(text)).network_opts == ("a=b", "c=d")
    assert dockerd.parse(daemonjson.read('{"default-network-opts": []}')).network_opts == ()


def started_with(path: str) -> dict[str, str]:
    return {UNIT: f"[Service]\nExecStart=/usr/bin/dockerd -H fd:// --config-file {path}\n"}


def test_the_file_that_the_unit_names_is_the_one_that_counts(tmp_path: Path) -> None:
    files = {"/srv/d.json": '{"data-root": "/data", "iptables": false}', daemonjson.PATH: '{"iptables": true}'}
    host = Machine(tmp_path, {**started_with("/srv/d.json"), **files})
    found = dockerd.daemon_json(host, (26, 1, 5), dockerd.unit_options(host))
    assert (found.path, found.state, found.iptables, found.problems) == ("/srv/d.json", "ok", False, ())
    assert daemonjson.data_root(dockerd.content(host)) == "/data"


def test_a_file_that_the_unit_names_and_nobody_wrote(tmp_path: Path) -> None:
    host = Machine(tmp_path, {**started_with("/srv/d.json"), daemonjson.PATH: "{}"})
    found = dockerd.daemon_json(host, (26, 1, 5), dockerd.unit_options(host))
    assert [str(problem) for problem in found.problems] == ["there is no such file, and --config-file names it"]


class Dockerd(Machine):
    def __init__(self, root: Path, code: int, said: str) -> None:
        super().__init__(root)
        self.code, self.said = code, said

    def run(self, argv: Any, **options: Any) -> Any:
        assert tuple(argv[:4]) == ("dockerd", "--validate", "--config-file", "/etc/docker/daemon.json")
        assert options["timeout"] <= 10
        self.answers[" ".join(argv)] = ""
        done = super().run(argv, **options)
        return type(done)(done.argv, self.code, "", self.said)


REFUSED = "unable to configure the Docker daemon with file /etc/docker/daemon.json: "


@pytest.mark.parametrize(
    ("mode", "code", "said", "refused", "quoted"),
    [
        (0o644, 0, "configuration OK", False, ""),
        (0o644, 1, f"{REFUSED}no\tgood\x1b[1m", True, "no good\\x1b[1m"),
        (0o600, 1, f"{REFUSED}secret", True, ""),
        (0o644, 125, "unknown flag: --validate\nSee 'dockerd --help'.", None, ""),
    ],
)
def test_what_dockerd_says(tmp_path: Path, mode: int, code: int, said: str, refused: Optional[bool], quoted: str) -> None:
    put(tmp_path, "/etc/docker/daemon.json", "{}", mode)
    answer = validate(Dockerd(tmp_path, code, said))
    assert (answer.refused, answer.said) == (refused, quoted)


@pytest.mark.parametrize(
    ("text", "words", "open_to"),
    [
        ('{"hosts": ["tcp://0.0.0.0:2375", "unix:///run/docker.sock"]}', (), ("0.0.0.0:2375",)),
        ("{}", ("-H", "fd://", "--host=tcp://[::]:2375"), ("[::]:2375",)),
        ("{}", ("-Htcp://192.0.2.1:2375", "--containerd=/run/containerd/containerd.sock"), ("192.0.2.1:2375",)),
        ("{}", ("-H", "tcp://docker.example.org:2375"), ("docker.example.org:2375",)),
        ('{"hosts": ["tcp://0.0.0.0:2375"], "tls": true, "tlsverify": false}', (), ("0.0.0.0:2375",)),
        ('{"hosts": ["tcp://0.0.0.0:2376"], "tlsverify": true}', (), ()),
        ('{"hosts": ["tcp://0.0.0.0:2376"], "tls": true}', (), ()),  # asks for certificates, too
        ("{}", ("-H", "tcp://0.0.0.0:2376", "--tlsverify"), ()),
        ("{}", ("-H", "tcp://0.0.0.0:2376", "--tlsverify=false"), ("0.0.0.0:2376",)),
        ('{"hosts": ["tcp://127.0.0.1:2375", "tcp://:2375", "tcp://localhost:2375", "tcp://[::1]:2375"]}', (), ()),
        ('{"hosts": ["fd://"]}', ("-H", "fd://"), ()),
        ("[]", (), ()),
    ],
)
def test_where_whoever_connects_gives_orders(text: str, words: tuple[str, ...], open_to: tuple[str, ...]) -> None:
    assert dockerd.exposed(daemonjson.read(text), words) == open_to


@pytest.mark.parametrize(
    ("profile", "said"),
    [(None, ""), ("{}", ""), ("nothing", "/etc/own.json is not a JSON object")],
)
def test_the_seccomp_profile_of_every_container(tmp_path: Path, profile: Optional[str], said: str) -> None:
    files = {daemonjson.PATH: '{"seccomp-profile": "/etc/own.json"}', **({"/etc/own.json": profile} if profile else {})}
    assert dockerd.daemon_json(Machine(tmp_path, files), (26, 1, 5), ()).seccomp == said
