"""The examples in cloud-config/ are what cowgate writes; running this as a module writes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from cowgate.boot import user_data as userdata
from cowgate.boot.user_data import Options
from cowgate.policy.file import parse, validate

PLACE = Path(__file__).resolve().parents[2] / "cloud-config"
DIGEST = "REPLACE: the 64 digits that `cowgate user-data --bundle cowgate.tar.xz` prints"
NAME, URL = "mail.your-domain.tld", "https://files.your-domain.tld/cowgate.tar.xz"
PROXY = "http://proxy.your-domain.tld:3128"
KEY = "ssh-ed25519 REPLACE-with-your-public-key you@your-desk"
COMMAND = f"cowgate user-data --hostname {NAME} --timezone Europe/Berlin --ssh-key KEY.pub"
BUNDLE = f"--bundle cowgate.tar.xz --url {URL}"
ABOUT = {
    "self-hoster.yaml": (
        """\
User-data for a new server: it is checked and repaired, and says READY or BLOCKED at the login. mailcow is not installed.""",
        "",
    ),
    "with-install.yaml": (
        """\
User-data for a new server: it is checked and repaired, and mailcow is installed once it is ready, and not before. While it
is blocked it looks again by itself, for three hours.""",
        " --install",
    ),
    "behind-a-proxy.yaml": (
        """\
User-data for a new server that reaches the web through an HTTP proxy only: the fetching of cowgate, the package manager, git
and the Docker daemon use it. DNS, ICMP and mail do not go through such a proxy, and mailcow needs them; mailcow's own
containers fetch their lists directly.""",
        f" --install --proxy {PROXY}",
    ),
}


def written(name: str) -> str:
    """The text of an example, with words above it."""
    about, more = ABOUT[name]
    text = userdata.build(
        Options(
            hostname=NAME,
            timezone="Europe/Berlin",
            install="--install" in more,
            ssh_keys=(KEY,),
            url=URL,
            sha256=DIGEST,
            proxy=PROXY if "--proxy" in more else "",
        )
    )
    first, rest = text.split("\n", 1)
    words = f"""\
{about}
Write your own, which needs no editing:

    {COMMAND} \\
       {more} {BUNDLE}

and put cowgate.tar.xz there. Or put your own names in the place of your-domain.tld and your values where it says REPLACE;
unedited, nothing is unpacked.
"""
    return "\n".join([first, *(f"# {line}".rstrip() for line in words.splitlines()), rest])


@pytest.mark.parametrize("name", ABOUT)
def test_an_example_is_what_cowgate_writes(name: str) -> None:
    assert (PLACE / name).read_text() == written(name)


@pytest.mark.parametrize("name", ABOUT)
def test_unedited_it_does_nothing_and_says_why(name: str, tmp_path: Path) -> None:
    (script,) = yaml.safe_load((PLACE / name).read_text())["bootcmd"]
    begin = script.partition("put /opt/cowgate/begin 644 <<'END-OF-FILE'\n")[2].partition("END-OF-FILE\n")[0]
    (tmp_path / "begin").write_text(begin.replace("/run/cowgate-begin", f"{tmp_path}/told"))
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, str(tmp_path / "begin")], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0
        assert done.stdout == "cowgate: this user-data is an unedited example: see REPLACE in it\n"
        assert (tmp_path / "told").read_text() == done.stdout


def test_vendor_data_is_a_policy_that_cowgate_takes() -> None:
    text = (PLACE / "marketplace-vendor-data.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    (file,) = yaml.safe_load(text)["write_files"]
    assert (file["path"], file["permissions"]) == ("/etc/cowgate/policy.d/20-vendor.yaml", "0644")
    found = parse(file["path"], file["content"].encode())
    validate(found)
    assert found.values["time"]["servers"]


def test_what_the_marketplace_page_shows_starts_the_install_at_this_boot() -> None:
    """A wish alone counts from the next boot on: the target's job was made before it."""
    page = (PLACE.parent / "packer/docs/general.md").read_text()
    shown = yaml.safe_load(page.partition("    #cloud-config\n")[2].partition("\n\n")[0])
    assert shown["runcmd"] == [
        ["systemctl", "add-wants", "cowgate-ready.target", "cowgate-install.service"],
        ["systemctl", "start", "--no-block", "cowgate-ready.target"],
    ]


def test_there_are_no_others() -> None:
    assert {path.name for path in PLACE.glob("*.yaml")} == {*ABOUT, "marketplace-vendor-data.yaml"}


if __name__ == "__main__":
    for name in ABOUT:
        (PLACE / name).write_text(written(name))
