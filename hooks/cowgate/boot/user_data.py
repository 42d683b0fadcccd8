"""Builds user-data that carries all of cowgate: paste it into a provider's console and nothing of ours is downloaded.

The result is a plain #cloud-config, the one form that every datasource understands, with everything in write_files.
The same input gives the same bytes.
"""

from __future__ import annotations

import ast
import base64
import functools
import importlib.resources
import io
import itertools
import json
import lzma
import re
import tarfile
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Traversable

from cowgate import VERSION
from cowgate.errors import UsageError
from cowgate.image.hook import COMMAND, INSTALL_UNIT

HOME = "/opt/cowgate"

SETTINGS = "/etc/cowgate/policy.d/50-user-data.yaml"


@dataclass(frozen=True)
class Provider:
    """What a provider's user-data field takes. `limit` is in bytes of what is sent, `source` says where that is written."""

    name: str
    limit: int
    source: str
    encoding: str = "text"  # text, or base64: the field wants it encoded and counts the encoded form


PROVIDERS = {
    p.name: p
    for p in (
        Provider("nocloud", 1 << 20, "a seed file of your own; the bound is ours"),
        Provider("gce", 262144, "Compute Engine: 256 KiB per metadata value"),
        Provider("digitalocean", 65536, "DigitalOcean API: 64 KiB of plain text"),
        Provider("openstack", 65535, "Nova: 65535 bytes of base64", encoding="base64"),
        Provider("azure", 65535, "Azure: customData up to 65535 bytes decoded"),
        Provider("hetzner", 32768, "Hetzner Cloud API: user_data is limited to 32 KiB"),
        Provider("oracle", 32000, "OCI: 32000 bytes of metadata in all, base64", encoding="base64"),
        Provider("ec2", 16384, "EC2: 16 KB before base64"),
        Provider("linode", 16384, "Akamai: about 16 KB"),
    )
}


@dataclass(frozen=True)
class Options:
    """What the user-data shall do. `policy` is the text of a policy file. `url` and `sha256` give the small variant."""

    hostname: str = ""
    timezone: str = ""
    policy: str = ""
    install: bool = False
    ssh_keys: tuple[str, ...] = ()
    url: str = ""
    sha256: str = ""
    fail_cloud_init: bool = False
    proxy: str = ""


@dataclass(frozen=True)
class File:
    """One entry of write_files."""

    path: str
    content: bytes
    mode: str = "0644"
    append: bool = False


def build(options: Options) -> str:
    """The user-data, as text."""
    files = [File(SETTINGS, settings(options).encode())]
    if options.policy:
        files.append(File("/etc/cowgate/policy.yaml", options.policy.encode()))
    if options.proxy:
        files += _proxy_files(options.proxy)
    if options.url:
        unpack = FETCH.replace("@URL@", repr(options.url)).replace("@SHA256@", repr(options.sha256))
    else:
        files.append(File(f"{HOME}/bundle", bundle()))
        unpack = UNPACK
    files.append(File(f"{HOME}/unpack", unpack.encode(), mode="0755"))
    return _render(options, files)


NO_PROXY = "localhost,127.0.0.1,::1"


def _proxy_files(proxy: str) -> list[File]:
    """For our units, people and git; and for the Docker daemon, which reads its unit only."""
    lines = [f"http_proxy={proxy}", f"https_proxy={proxy}", f"no_proxy={NO_PROXY}"]
    quoted = proxy.replace("%", "%%")
    unit = ["[Service]", *(f'Environment="{name}={quoted}"' for name in ("HTTP_PROXY", "HTTPS_PROXY"))]
    unit.append(f'Environment="NO_PROXY={NO_PROXY}"')
    return [
        File("/etc/environment", "".join(f"{line}\n" for line in lines).encode(), append=True),
        File("/etc/systemd/system/docker.service.d/proxy.conf", "".join(f"{line}\n" for line in unit).encode()),
    ]


def settings(options: Options) -> str:
    """The part of the policy that the options decide."""
    lines = ["# Written by user-data; policy.yaml beside this directory holds everything else."]
    if options.hostname:
        lines.append(f"hostname: {json.dumps(options.hostname)}")
    if options.timezone:
        lines.append(f"timezone: {json.dumps(options.timezone)}")
    if options.fail_cloud_init:
        lines.append("fail_cloud_init: true")
    return "\n".join(lines) + "\n" + ("{}\n" if len(lines) == 1 else "")


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
            hint="write the bundle with --bundle FILE, put it on a web server, and name it with --url: that variant is small",
        )


# -- the bundle ------------------------------------------------------------------------------------------------------


@functools.cache
def bundle() -> bytes:
    """This installation of cowgate as one xz-compressed tar, Python without comments and docstrings."""
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
    for name, content in _package("", importlib.resources.files("cowgate").iterdir()):
        if name.endswith(".py"):
            content = strip(content.decode()).encode()
        elif name.endswith(".json"):
            content = json.dumps(json.loads(content), separators=(",", ":"), ensure_ascii=False).encode()
        yield f"hooks/cowgate/{name}", content, 0o644
        if name == "launcher.sh":
            yield "hooks/cowgate.sh", content, 0o755


def _package(directory: str, entries: Iterable[Traversable]) -> Iterator[tuple[str, bytes]]:
    for entry in entries:
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _package(f"{directory}{entry.name}/", entry.iterdir())
        elif entry.name.endswith((".py", ".json", ".md", ".sh", ".service", ".target", ".timer")):
            yield directory + entry.name, entry.read_bytes()


def strip(source: str) -> str:
    """Python without docstrings, comments, empty lines and what is only for type checkers. All other text stays as it is.

    Text is taken away and nothing is written anew: the outcome does not depend on the Python that does it, and needs no
    newer one than the source.
    """
    source = _without_annotations(source)
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    dropped: set[int] = set()
    in_text: set[int] = set()  # lines that end inside a string
    for node in ast.walk(ast.parse(source)):
        lines_of_node = range(getattr(node, "lineno", 0), getattr(node, "end_lineno", 0))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            dropped.update(_docstring(node))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse:
            dropped.update(lines_of_node, [lines_of_node.stop])
        elif isinstance(node, (ast.Constant, ast.JoinedStr)):
            in_text.update(lines_of_node)
    return "".join(
        line
        for number, line in enumerate(lines, 1)
        if number not in dropped and (line.strip() or number in in_text or number - 1 in in_text)
    )


def _without_annotations(source: str) -> str:
    """The types of parameters and results taken out; those of a class's fields are read when the program runs."""
    text = source.encode()
    begins = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
    cuts = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation is not None:
            begin = begins[node.lineno - 1] + node.col_offset + len(node.arg.encode())
            cuts.append((begin, _end(begins, node.annotation)))
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            arrow = text.rindex(b"->", 0, begins[node.returns.lineno - 1] + node.returns.col_offset)
            cuts.append((len(text[:arrow].rstrip()), _end(begins, node.returns)))
    for begin, end in sorted(cuts, reverse=True):
        text = text[:begin] + text[end:]
    return text.decode()


def _end(begins: Sequence[int], node: ast.expr) -> int:
    """Where the node ends, in bytes from the begin of the source."""
    return begins[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> range:
    """The lines of a docstring; none where the body is nothing else, because a body cannot be empty."""
    first = node.body[0] if node.body else None
    if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant) or not isinstance(first.value.value, str):
        return range(0)
    if len(node.body) == 1 and not isinstance(node, ast.Module):
        return range(0)
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


# -- the text --------------------------------------------------------------------------------------------------------

# What a YAML block can hold and give back byte for byte: text lines that begin with no blank and end with none.
_PLAIN = re.compile(r"[!-~][ -~]*\n([ -~]*\n)*\Z")


def _render(options: Options, files: Iterable[File]) -> str:
    out = [
        "#cloud-config",
        f"# cowgate {VERSION}: makes this machine ready for mailcow, and keeps the install shut until it is.",
    ]
    if options.ssh_keys:
        out += ["ssh_authorized_keys:", *(f"  - {json.dumps(key)}" for key in options.ssh_keys)]
    out.append("write_files:")
    for file in files:
        out += [f"  - path: {file.path}", f"    permissions: '{file.mode}'", *(["    append: true"] if file.append else [])]
        text = file.content.decode("latin-1")
        if _PLAIN.match(text) and not re.search(r" \n|\n\n\Z", text):
            out += ["    content: |", *(f"      {line}" if line else "" for line in text.split("\n")[:-1])]
        else:
            out += ["    encoding: b64", f"    content: {base64.b64encode(file.content).decode()}"]
    out.append("runcmd:")
    out += [f"  - {json.dumps(command)}" for command in _commands(options)]
    return "\n".join(out) + "\n"


def _commands(options: Options) -> Iterator[list[str]]:
    # Where all of cloud-init is one process it began before /etc/environment was written.
    proxied = ["env", f"http_proxy={options.proxy}", f"https_proxy={options.proxy}"] if options.proxy else []
    yield [*proxied, f"{HOME}/unpack"]
    # EL8 has no Python that cowgate runs on; everywhere else this asks and does nothing.
    yield [*proxied, "sh", "-c", f"{COMMAND} --interpreter >/dev/null 2>&1 || {COMMAND} --setup"]
    # The same parts, through the same journal, as in an image.
    yield [COMMAND, "run", "--phase", "build", "--only", "image.hook", "--yes"]
    yield ["systemctl", "daemon-reload"]
    if options.install:
        yield ["systemctl", "add-wants", "cowgate-ready.target", INSTALL_UNIT]
    # --no-block: these units wait for cloud-final, and this command runs inside it.
    yield ["systemctl", "start", "--no-block", "cowgate-ready.target"]
    if options.fail_cloud_init:
        # Only the last command's exit code reaches cloud-init's own status.
        yield [*proxied, COMMAND, "--setup", "run", "--phase", "boot", "--yes"]


# Runs on the machine, with cloud-init's own Python. Every step can be repeated: it is also what repairs a half-written tree.
# The first lines are for sh: EL8 has a Python for its own tools only, which will do for this.
UNPACK = """\
#!/bin/sh
''':'
for python in python3 /usr/libexec/platform-python; do
    command -v $python >/dev/null && exec $python "$0"
done
echo "cowgate: there is no Python on this machine: name python3 under packages: in the user-data" >&2
exit 3
'''
import io, lzma, os, shutil, tarfile
data = open("/opt/cowgate/bundle", "rb").read()
new = "/opt/cowgate/new"
shutil.rmtree(new, ignore_errors=True)
safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))).extractall(new, **safe)
shutil.rmtree("/opt/cowgate/hooks", ignore_errors=True)
os.rename(new + "/hooks", "/opt/cowgate/hooks")
shutil.rmtree(new)
link = "/usr/local/sbin/cowgate"
if os.path.lexists(link):
    os.remove(link)
os.symlink("/opt/cowgate/hooks/cowgate.sh", link)
"""

# The small variant: one file, from one place, with one digest. Anything else stops here and the gate stays shut.
FETCH = UNPACK.replace("import io,", "import hashlib, io,").replace(
    'data = open("/opt/cowgate/bundle", "rb").read()\n',
    """\
import sys, time, urllib.request
url = @URL@
digest = @SHA256@
if len(digest) != 64:
    sys.exit("cowgate: this user-data is an unedited example: see REPLACE in it")
for attempt in range(6):
    try:
        data = urllib.request.urlopen(url, timeout=30).read()
        break
    except OSError as error:
        print("cowgate: %s" % error, file=sys.stderr)
        time.sleep(10)
else:
    sys.exit("cowgate: the pinned file could not be fetched")
if hashlib.sha256(data).hexdigest() != digest:
    sys.exit("cowgate: the fetched file is not the pinned one")
""",
)
