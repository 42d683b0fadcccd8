"""No output has a secret: the scan over all tests hears what it has to, and what commands read of a machine they keep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cowgate import cli
from cowgate.report.render.registry import USUAL
from tests.lab.canary import CANARY

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\x1b[2J\u202e\nSEALED\r"
# The word is put together at run time: this text is printed where the scan fails.
TELLS = """\
import pathlib, subprocess, sys
SECRET = "c4" + "nary"

def test_by_printing():
    print(SECRET)

def test_by_what_it_captured(capsys):
    print(SECRET)
    capsys.readouterr()

def test_by_a_process(tmp_path):
    command = tmp_path / "cowgate"
    command.write_text(f"#!/bin/sh\\necho {SECRET} >&2\\n")
    command.chmod(0o755)
    subprocess.run([str(command), "check"], capture_output=True)

def test_by_a_document(tmp_path):
    (tmp_path / "readiness.json").write_text(SECRET)
"""
KEEPS = """\
import subprocess

def test_what_is_no_output_of_ours(tmp_path, capsys):
    (tmp_path / "mailcow.conf").write_text("DBPASS=c4" + "nary")
    subprocess.run(["cat", str(tmp_path / "mailcow.conf")], capture_output=True)
    (tmp_path / "status.json").write_text("c4" + "nary")
    (tmp_path / "status.json").chmod(0o600)
"""


def scanned(directory: Path, text: str) -> str:
    (directory / "test_it.py").write_text(text)
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.conftest", "-q", "-rN"]
    done = subprocess.run(
        [*command, "--rootdir", str(directory), str(directory)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    return done.stdout.replace("c4nary", "(canary)")


def test_a_test_fails_that_lets_a_secret_be_heard(tmp_path: Path) -> None:
    told = scanned(tmp_path, TELLS)
    assert "3 failed, 1 passed, 1 error" in told, told
    assert told.count("a secret that a fixture planted stands in an output of cowgate's") == 4, told


def test_what_is_read_is_not_what_is_told(tmp_path: Path) -> None:
    assert "1 passed" in scanned(tmp_path, KEEPS)


URL = f"http://build:{CANARY}@proxy.cowgate.test:3128/"
COMPOSE = "services:\n  nginx-mailcow:\n    image: nginx\n"
SECRETS = {
    "/etc/os-release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "/usr/lib/systemd/systemd": "",
    "/etc/environment": f"https_proxy={URL}\nTOKEN={CANARY}\n",
    "/etc/fstab": f"//files.cowgate.test/x /var/lib/docker cifs username=u,password={CANARY} 0 0\n{CANARY}\n",
    "/etc/network/interfaces": f"auto eth0\niface eth0 inet6 static\n  up curl -H 'Cookie: {CANARY}'\n"
    f"iface wlan0 inet dhcp\n  wpa-psk {CANARY}\n  {CANARY}\n",
    "/etc/netplan/50-wifi.yaml": f"network:\n  wifis:\n    wlan0:\n      access-points: {{x: {{password: {CANARY}}}}}\n",
    "/etc/systemd/system/docker.service.d/proxy.conf": f"[Service]\nEnvironment=HTTP_PROXY={URL}\nExecStart=\n"
    f"ExecStart=/usr/bin/dockerd --log-opt splunk-token={CANARY} --{CANARY}\n",
    "/etc/docker/daemon.json": json.dumps(
        {
            "proxies": {"http-proxy": URL},
            "log-opts": {"splunk-token": CANARY},
            "registry-mirrors": [f"https://u:{CANARY}@mirror.cowgate.test"],
            "mtu": CANARY,
            "dns": [CANARY],
        }
    ),
    "/etc/apt/apt.conf.d/proxy": f'Acquire::http::Proxy "{URL}";\n',
    "/etc/apt/sources.list": f"deb https://u:{CANARY}@mirror.cowgate.test/debian trixie main\n",
    "/etc/chrony/chrony.conf": f"server time.cowgate.test key 1\n{CANARY}\n",
    "/etc/chrony/chrony.keys": f"1 SHA1 {CANARY}\n",
    "/etc/exim4/passwd.client": f"*:user:{CANARY}\n",
    "/etc/postfix/main.cf": f"relayhost = {CANARY}\n",
    "/root/.docker/config.json": json.dumps(
        {"auths": {"r.cowgate.test": {"auth": CANARY}}, "proxies": {"default": {"httpProxy": URL}}}
    ),
    "/root/.gitconfig": f"[http]\n\tproxy = {URL}\n",
    "/opt/mailcow-dockerized/mailcow.conf": f"MAILCOW_HOSTNAME=mail.cowgate.test\nDBPASS={CANARY}\nAPI_KEY={CANARY}\n"
    f"broken {CANARY}\n",
    "/opt/mailcow-dockerized/docker-compose.yml": COMPOSE,
    "/opt/mailcow-dockerized/docker-compose.override.yml": COMPOSE
    + f"    environment: [PW={CANARY}]\n    env_file: [s.env]\n  {CANARY}\n",
    "/opt/mailcow-dockerized/s.env": f'PASS="{CANARY}\n',
    "/opt/mailcow-dockerized/.git/config": f'[remote "origin"]\n\turl = https://u:{CANARY}@git.cowgate.test/m\n',
    "/opt/mailcow-dockerized/.git/HEAD": "ref: refs/heads/master\n",
    f"/etc/network/interfaces.d/{HOSTILE}": f"iface eth0:0 inet6 static\n  address 2001:db8::1\n  up {CANARY}\n",
    f"/etc/systemd/system/docker.service.d/{HOSTILE}.conf": f"[Service]\nEnvironment=HTTPS_PROXY={URL}\n",
    f"/etc/systemd/system/{HOSTILE}.service": f"[Service]\nEnvironment=TOKEN={CANARY}\n",
    f"/etc/apt/sources.list.d/{HOSTILE}.list": f"deb https://u:{CANARY}@mirror.cowgate.test/debian trixie main\n",
    f"/etc/cloud/cloud.cfg.d/{HOSTILE}.cfg": "network: {config: disabled}\ndatasource_list: [None]\n",
    f"/etc/sysctl.d/{HOSTILE}.conf": f"net.ipv6.conf.all.disable_ipv6=1\n{CANARY}\n",
    f"/etc/netplan/{HOSTILE}.yaml": f"{CANARY}: [\n",
    f"/home/{HOSTILE}/.ssh/id_rsa": f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----\n",
    f"/home/{HOSTILE}/.ssh/authorized_keys": f"ssh-ed25519 AAAA {CANARY}\n",
    f"/opt/{HOSTILE}/.env": f"PASSWORD={CANARY}\n",
    f"/root/{HOSTILE}id_rsa": f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----\n",
}


@pytest.fixture(params=[0o644, 0o600], ids=["readable", "private"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tree with a secret in every file that cowgate reads."""
    for path, text in SECRETS.items():
        place = tmp_path / "tree" / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(request.param if CANARY in text else 0o755)
    return tmp_path / "tree"


def test_no_command_tells_a_secret_of_a_machine_that_it_reads(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(machine)]
    looks = [["check", "--offline", "--phase", phase, *root] for phase in ("build", "boot", "audit")]
    commands = [
        *(["check", "--offline", "--phase", "boot", "--format", name, *root] for name in USUAL),
        *looks,
        ["facts", "--offline", *root],
        ["seal", "--check", *root],
        ["seal", *root],
        ["run", "--phase", "build", "--offline", "--dry-run", *root],
        ["run", "--phase", "build", "--offline", "--yes", *root],
        ["check", "--offline", "--phase", "build", *root],
        ["undo", "--list", *root],
    ]
    said = 0
    for words in commands:
        code = cli.main(words)
        out, err = capfd.readouterr()
        said += len(out)
        assert CANARY not in out + err, (words, [line for line in (out + err).splitlines() if CANARY in line])
        assert code != 1, (words, err)
        assert not set("\x1b\u202e\r") & set(out + err), words
        assert not [line for line in (out + err).splitlines() if line == "SEALED"], words
    assert said > 10_000, "they said something"


def test_a_policy_of_a_hostile_name_with_a_secret_in_it_is_not_told(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = machine / "etc/cowgate/policy.d" / f"{HOSTILE}.yaml"
    place.parent.mkdir(parents=True)
    for text in (f"{CANARY}: [\n", f"password: {CANARY}\n", f"hostname: 'http://u:{CANARY}@x'\n"):
        place.write_text(text)
        for words in (
            ["check", "--offline", "--root", str(machine)],
            ["seal", "--root", str(machine)],
            ["validate", str(place)],
        ):
            assert cli.main(words) in (0, 2, 3)
            told = "".join(capfd.readouterr())
            assert CANARY not in told and not set("\x1b\u202e\r") & set(told), (words, told)
            assert not [line for line in told.splitlines() if line == "SEALED"], words
