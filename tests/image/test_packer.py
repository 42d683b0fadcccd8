"""The templates, as far as Packer 1.6 can tell without an account anywhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.image.building import PACKER, arguments, packer, template
from tests.lab.qemu import _key

BUILDERS = ("qemu", "hcloud", "digitalocean", "amazon-ebs", "googlecompute", "azure-arm", "proxmox-clone")
# Where the plugin is not called after the builder, or not its maker after the plugin.
PLUGINS = {"amazon-ebs": "amazon", "azure-arm": "azure", "proxmox-clone": "proxmox"}
OWNERS = {"hcloud": "hetznercloud", "digitalocean": "digitalocean"}
# Placeholders: nothing is asked of a provider while a template is validated.
ID = "00000000-0000-0000-0000-000000000000"
ACCESS = {
    "hcloud": {"token": "not-a-token"},
    "digitalocean": {"token": "not-a-token"},
    "amazon-ebs": {"access_key": "none", "secret_key": "none"},
    "googlecompute": {"project": "none"},
    "azure-arm": {"subscription_id": ID, "tenant_id": ID, "client_id": ID, "client_secret": "none"},
    "proxmox-clone": {
        "proxmox_url": "https://pve.cowgate.test:8006/api2/json",
        "proxmox_username": "root@pam",
        "proxmox_password": "none",
    },
}
OTHERS = ("adapters", "docs", "marketplace", "scripts", "shared")  # directories that are no builders
DIGEST = "0" * 64


def variables(builder: str, directory: Path) -> dict[str, str]:
    archive = directory / "cowgate.pyz"
    archive.touch()
    common = {"cowgate_pyz": str(archive), "cowgate_sha256": DIGEST}
    if builder == "qemu":
        return {**common, "image_url": str(archive), "image_checksum": "none", "ssh_private_key_file": _key()}
    return {**common, **ACCESS[builder]}


def parsed(path: Path) -> dict[str, Any]:
    """The file as python-hcl2 reads it: every block is in a list."""
    plain = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
    document: dict[str, Any] = hcl2.loads(path.read_text(), serialization_options=plain)
    return document


def validate(builder: str, directory: Path, **changed: str) -> tuple[int, str]:
    given = {**variables(builder, directory), **changed}
    return packer(["validate", *arguments(given), str(template(builder, directory))], directory)


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_builder_validates(builder: str, tmp_path: Path) -> None:
    code, said = validate(builder, tmp_path)
    assert code == 0, said


def test_every_directory_is_a_builder_that_is_tested() -> None:
    assert {path.name for path in PACKER.iterdir() if path.is_dir()} == {*BUILDERS, *OTHERS}
    for builder in BUILDERS:
        for shared in ("variables.pkr.hcl", "build.pkr.hcl"):
            assert os.readlink(PACKER / builder / shared) == f"../shared/{shared}"


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cowgate_sha256", "abc", "64 hexadecimal digits"),
        ("architecture", "sparc", "must be x86_64 or arm64"),
    ],
)
def test_wrong_values_are_refused(builder: str, name: str, value: str, said: str, tmp_path: Path) -> None:
    code, output = validate(builder, tmp_path, **{name: value})
    assert code != 0
    assert said in " ".join(output.split())


@pytest.mark.parametrize("builder", [builder for builder in BUILDERS if builder not in ("digitalocean", "proxmox-clone")])
def test_both_architectures_validate(builder: str, tmp_path: Path) -> None:
    code, said = validate(builder, tmp_path, architecture="arm64")
    assert code == 0, said


@pytest.mark.parametrize("path", sorted(PACKER.glob("*/*.pkr.hcl")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_format(path: Path, tmp_path: Path) -> None:
    code, said = packer(["fmt", "-check", "-diff", str(path)], tmp_path)
    assert code == 0, said


@pytest.mark.parametrize("builder", BUILDERS)
def test_plugin_files_name_their_plugin(builder: str) -> None:
    """Packer 1.6 does not know this block: another reader of the language says what is in it."""
    owner, plugin = OWNERS.get(builder, "hashicorp"), PLUGINS.get(builder, builder)
    (block,) = parsed(PACKER / builder / "plugins.pkr.hcl")["packer"]
    assert set(block) == {"required_plugins"}
    (plugins,) = block["required_plugins"]
    assert set(plugins) == {plugin}
    assert plugins[plugin]["source"] == f"github.com/{owner}/{plugin}"
    assert re.fullmatch(r">= \d+\.\d+\.\d+", plugins[plugin]["version"])


@pytest.mark.parametrize("builder", BUILDERS)
def test_two_readers_see_the_same_template(builder: str) -> None:
    document = parsed(PACKER / builder / f"{builder}.pkr.hcl")
    (source,) = document["source"]
    assert list(source) == [builder]
    assert list(source[builder]) == ["mailcow-ready"]
    assert document["locals"] == [{"builder": builder}]
    assert "build" not in document


def test_there_is_one_build_and_its_steps_are_in_order() -> None:
    path = PACKER / "shared" / "build.pkr.hcl"
    (steps,) = parsed(path)["build"]
    (manifest,) = (step["manifest"] for step in steps["post-processor"])
    assert manifest["custom_data"]["verdict"] == "passed"
    text = path.read_text()
    order = [
        "wait.sh",
        "install.sh",
        "build.sh",
        "pull.sh",
        "onboarding.sh",
        "/${local.builder}.json",
        "customize",
        "seal.sh",
        "/${local.builder}-gate.json",
        "gate.sh",
        "manifest",
    ]
    places = [text.index(word) for word in order]
    assert places == sorted(places)


def test_a_builder_that_is_called_otherwise_than_its_source_is_refused(tmp_path: Path) -> None:
    """The one build block finds its source by that name."""
    file = template("qemu", tmp_path) / "qemu.pkr.hcl"
    file.write_text(file.read_text().replace('builder = "qemu"', 'builder = "hcloud"'))
    code, said = packer(["validate", *arguments(variables("qemu", tmp_path)), str(file.parent)], tmp_path)
    assert code != 0 and "Unknown source hcloud.mailcow-ready" in said
