"""Builds user-data that carries all of cowgate: paste it into a provider's console and nothing of ours is downloaded.

The result is a plain #cloud-config, the one form that every datasource understands, with everything in write_files.
The same input gives the same bytes.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import lzma
import pkgutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import cowgate
from cowgate import VERSION
from cowgate.errors import UsageError
from cowgate.imagehook import COMMAND, INSTALL_UNIT, UNITS

# What only people at a desk need, and what a first boot therefore does not carry.
LEFT_OUT = (
    "userdata.py",
    "image.py",
)


@dataclass(frozen=True)
class Provider:
    """What a provider's user-data field takes. `limit` is in bytes of what is sent, `source` says where that is written."""

    name: str
    limit: int
    source: str
    encoding: str = "text"  # text, or base64: the field wants it encoded and counts the encoded form
    embedded: bool = True


PROVIDERS = {
    p.name: p
    for p in (
        Provider("nocloud", 1 << 20, "a seed file of your own; the bound is ours"),
        Provider("hetzner", 32768, "Hetzner Cloud API: user_data is limited to 32 KiB"),
        Provider("digitalocean", 65536, "DigitalOcean API: 64 KiB of plain text"),
        Provider("openstack", 65535, "Nova: 65535 bytes of base64", encoding="base64"),
        Provider("azure", 65535, "Azure: customData up to 65535 bytes decoded"),
        Provider("gce", 262144, "Compute Engine: 256 KiB per metadata value"),
        Provider("oracle", 32000, "OCI: 32000 bytes of metadata in all, base64", encoding="base64", embedded=False),
        Provider("ec2", 16384, "EC2: 16 KB before base64", embedded=False),
        Provider("linode", 16384, "Akamai: about 16 KB", embedded=False),
    )
}


@dataclass(frozen=True)
class File:
    """One entry of write_files. Binary content is base64 in the text, the rest is readable as it is."""

    path: str
    content: bytes
    mode: str = "0644"
    binary: bool = False


@dataclass(frozen=True)
class Options:
    """What the user-data shall do. `url` and `sha256` give the small variant, which fetches one pinned file."""

    hostname: str = ""
    timezone: str = ""
    policy: str = ""
    install: bool = False
    ssh_keys: tuple[str, ...] = ()
    url: str = ""
    sha256: str = ""
    fail_cloud_init: bool = False


def build(options: Options) -> str:
    """The user-data, as text."""
    files = [File("/etc/cowgate/policy.d/50-user-data.yaml", _settings(options).encode())]
    if options.policy:
        files.append(File("/etc/cowgate/policy.yaml", options.policy.encode()))
    if options.url:
        unpack = FETCH.replace("@URL@", repr(options.url)).replace("@SHA256@", repr(options.sha256))
    else:
        files.append(File("/opt/cowgate/bundle", bundle(), binary=True))
        unpack = UNPACK
    files.append(File("/opt/cowgate/unpack", unpack.encode(), mode="0755"))
    return _render(options, files)


def size_for(provider: Provider, text: str) -> int:
    """How many bytes of the provider's limit `text` takes."""
    raw = text.encode()
    return len(base64.b64encode(raw)) if provider.encoding == "base64" else len(raw)


def demand_fit(provider: Provider, text: str) -> None:
    """Raises UsageError, saying by how much, where the text is larger than the provider takes."""
    size = size_for(provider, text)
    if size > provider.limit:
        raise UsageError(
            f"the user-data has {size} bytes, {size - provider.limit} more than {provider.name} takes ({provider.source})",
            hint="use --url and --sha256: that variant fetches one pinned file and is small",
        )


def bundle() -> bytes:
    """All modules, the launcher, the units and the schemas that a first boot needs, as one xz-compressed tar."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content, mode in sorted(_members()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = mode
            archive.addfile(info, io.BytesIO(content))
    # lc=4 suits text; measured a little smaller than the preset alone.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
    return lzma.compress(tar.getvalue(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)


def _members() -> Iterator[tuple[str, bytes, int]]:
    for module in pkgutil.walk_packages(cowgate.__path__, "cowgate."):
        name = module.name[len("cowgate.") :].replace(".", "/") + ("/__init__.py" if module.ispkg else ".py")
        if name not in LEFT_OUT:
            yield f"hooks/cowgate/{name}", strip(_data(name).decode()).encode(), 0o644
    yield "hooks/cowgate/__init__.py", strip(_data("__init__.py").decode()).encode(), 0o644
    for schema in ("readiness", "policy"):
        document = json.loads(_data(f"schemas/{schema}.schema.json"))
        name = f"hooks/cowgate/schemas/{schema}.schema.json"
        yield name, json.dumps(_without_prose(document), separators=(",", ":")).encode(), 0o644
    for unit in UNITS:
        # As they are: image.hook compares them with what is installed.
        yield f"hooks/cowgate/units/{unit}", _data(f"units/{unit}"), 0o644
    yield "hooks/cowgate.sh", _without_comments(_data("launcher.sh").decode()).encode(), 0o755


def _data(name: str) -> bytes:
    content = pkgutil.get_data("cowgate", name)
    if content is None:
        raise UsageError(f"this installation of cowgate lacks {name}", hint="install cowgate again")
    return content


def _without_prose(schema: object) -> object:
    """A schema without what only its readers need: it accepts and refuses the same documents."""
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Under "properties" the keys are names of ours: a property that is called "title" stays.
    return {
        key: {k: _without_prose(v) for k, v in value.items()}
        if key in ("properties", "definitions")
        else _without_prose(value)
        for key, value in schema.items()
        if not (key in ("description", "title", "examples", "$comment") and isinstance(value, (str, list)))
    }


def _without_comments(text: str) -> str:
    """Shell without its comment lines; the first line is kept."""
    lines = text.splitlines()
    kept = lines[:1] + [line for line in lines[1:] if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(kept) + "\n"


def strip(source: str) -> str:
    """Python without docstrings, comments and the annotations that nothing reads: it does the same in fewer bytes."""
    return ast.unparse(ast.fix_missing_locations(_Stripper().visit(ast.parse(source)))) + "\n"


class _Stripper(ast.NodeTransformer):
    def visit_body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        body = node.body
        first = body[0] if body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del body[0]
        if not body and not isinstance(node, ast.Module):
            body.append(ast.Pass())
        return node

    visit_Module = visit_ClassDef = visit_body  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            argument.annotation = None
        for variadic in (arguments.vararg, arguments.kwarg):
            if variadic is not None:
                variadic.annotation = None
        # Annotated names in a function are plain assignments; in a class they are the fields of a dataclass and stay.
        node.body = [_plain(statement) for statement in node.body]
        return self.visit_body(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


def _plain(statement: ast.stmt) -> ast.stmt:
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return ast.Assign(targets=[statement.target], value=statement.value)
    return statement


def _settings(options: Options) -> str:
    lines = ["# Written by user-data; policy.yaml beside this directory holds everything else."]
    if options.hostname:
        lines.append(f"hostname: {json.dumps(options.hostname)}")
    if options.timezone:
        lines.append(f"timezone: {json.dumps(options.timezone)}")
    if options.fail_cloud_init:
        lines.append("fail_cloud_init: true")
    return "\n".join(lines) + "\n" + ("{}\n" if len(lines) == 1 else "")


def _render(options: Options, files: list[File]) -> str:
    out = [
        "#cloud-config",
        f"# cowgate {VERSION}: makes this machine ready for mailcow, and keeps the install shut until it is.",
    ]
    if options.ssh_keys:
        out += ["ssh_authorized_keys:", *(f"  - {json.dumps(key)}" for key in options.ssh_keys)]
    out.append("write_files:")
    for file in files:
        out += [f"  - path: {file.path}", f"    permissions: '{file.mode}'"]
        if file.binary:
            out += ["    encoding: b64", f"    content: {base64.b64encode(file.content).decode()}"]
        else:
            out += ["    content: |", *(f"      {line}".rstrip() for line in file.content.decode().splitlines())]
    out.append("runcmd:")
    out += [f"  - {json.dumps(command)}" for command in _commands(options)]
    return "\n".join(out) + "\n"


def _commands(options: Options) -> Iterator[list[str]]:
    yield ["/opt/cowgate/unpack"]
    # The same parts, through the same journal, as in an image.
    yield [COMMAND, "run", "--phase", "build", "--only", "image.hook", "--yes"]
    yield ["systemctl", "daemon-reload"]
    if options.install:
        yield ["systemctl", "enable", INSTALL_UNIT]
    # --no-block: these units wait for cloud-final, and this command runs inside it.
    yield ["systemctl", "start", "--no-block", "cowgate-ready.target"]
    if options.fail_cloud_init:
        # Only the last command's exit code reaches cloud-init's own status.
        yield [COMMAND, "--setup", "run", "--phase", "boot", "--yes"]


# Runs on the machine, with cloud-init's own Python. Every step can be repeated: it is also what repairs a half-written tree.
_HEAD = """\
#!/usr/bin/env python3
import io, lzma, os, shutil, tarfile
data = open("/opt/cowgate/bundle", "rb").read()
"""
_PLACE = """\
new = "/opt/cowgate/new"
shutil.rmtree(new, ignore_errors=True)
tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))).extractall(new)
shutil.rmtree("/opt/cowgate/hooks", ignore_errors=True)
os.rename(new + "/hooks", "/opt/cowgate/hooks")
shutil.rmtree(new)
link = "/usr/local/sbin/cowgate"
if os.path.lexists(link):
    os.remove(link)
os.symlink("/opt/cowgate/hooks/cowgate.sh", link)
"""
UNPACK = _HEAD + _PLACE

# The small variant: one file, from one place, with one digest. Anything else stops here and the gate stays shut.
FETCH = (
    """\
#!/usr/bin/env python3
import hashlib, io, lzma, os, shutil, sys, tarfile, time, urllib.request
for attempt in range(6):
    try:
        data = urllib.request.urlopen(@URL@, timeout=30).read()
        break
    except OSError as error:
        print("cowgate: %s" % error, file=sys.stderr)
        time.sleep(10)
else:
    sys.exit("cowgate: the pinned file could not be fetched")
if hashlib.sha256(data).hexdigest() != @SHA256@:
    sys.exit("cowgate: the fetched file is not the pinned one")
"""
    + _PLACE
)
