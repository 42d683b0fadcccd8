"""Builds user-data that carries all of cowgate: paste it into a provider's console and nothing of ours is downloaded.

The result is a plain #cloud-config, the one form that every datasource understands, with one command of bootcmd: that runs at
every boot, before the rest, and goes on until the check is started. Beside other parts the same command is a boothook, which
runs at the same moments, and which no key of another part replaces. The same input gives the same bytes.
"""

import ast
import base64
import functools
import gzip
import hashlib
import importlib.resources
import io
import itertools
import json
import lzma
import re
import shlex
import tarfile
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Union

from cowgate import VERSION
from cowgate.errors import UsageError
from cowgate.image.hook import (
    BEGIN_SERVICE,
    BEGIN_UNIT,
    MOTD,
    MOTD_TEXT,
    PROFILE,
    PROFILE_TEXT,
    SERVICE_DIR,
    UNIT_DIR,
    service_text,
    unit_text,
)
from cowgate.providers import PROVIDERS, UserDataField

if TYPE_CHECKING:
    from importlib.abc import Traversable  # at run time Python 3.13 warns of it, and 3.14 has it elsewhere

# The one place that says where releases lie: RELEASES/VERSION/cowgate.tar.xz. Empty until there is one; then the default.
RELEASES = ""
HOME = "/opt/cowgate"
# Says whose first boot is over, also when cowgate has been removed: the user-data, read at every boot, must not bring it back.
BEGUN = "/var/lib/cloud/cowgate-begun"

SETTINGS = "/etc/cowgate/policy.d/50-user-data.yaml"
# cloud-init keeps a boothook there, and runs it at every boot; not where /var allows no programs, so bootcmd runs it as well.
HOOK = "cowgate"
HOOKS = "/var/lib/cloud/instance/boothooks"
# Runs late in the first boot, and fails cloud-init with it.
ONCE = "/var/lib/cloud/scripts/per-instance/cowgate"
ABOUT = f"cowgate {VERSION}: makes this machine ready for mailcow, and keeps the install shut until it is."


FIELDS = {id: provider.user_data for id, provider in PROVIDERS.items() if provider.user_data}


class Options(NamedTuple):
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


class File(NamedTuple):
    """A file that the user-data puts on the machine, where `manager` (systemd, openrc, or any) starts the services.

    With `add` its lines are added to a file that may be there.
    """

    path: str
    content: bytes
    mode: str = "644"
    add: bool = False
    manager: str = ""


class Part(NamedTuple):
    """One part of a multipart or an archive; `kind` is its text/ subtype."""

    kind: str
    text: str
    name: str = ""


def build(options: Options) -> str:
    """The user-data, as text."""
    return _render(options, _whole_script(options, []))


def build_parts(options: Options) -> tuple[Part, ...]:
    """The same as parts for a document with others: what starts the check is a boothook. See HOOK."""
    once = [File(ONCE, f"#!/bin/sh\nexec sh {HOME}/begin --once\n".encode(), mode="755")] if options.fail_cloud_init else []
    boothook = f"#cloud-boothook\n#!/bin/sh\n# {ABOUT}\n" + _whole_script(options, once)
    return Part("cloud-boothook", boothook, HOOK), Part("cloud-config", _beside(options))


def archive(parts: Iterable[Part]) -> str:
    """The parts as one text: user-data as a whole, or one part of a multipart (text/cloud-config-archive)."""
    out = ["#cloud-config-archive", f"# {ABOUT}"]
    for part in parts:
        out += [f"- type: text/{part.kind}", *([f"  filename: {part.name}"] if part.name else []), "  content: |"]
        out += [f"    {line}" if line else "" for line in part.text.split("\n")[:-1]]
    return "\n".join(out) + "\n"


def _whole_script(options: Options, more: Sequence[File]) -> str:
    files = [File(SETTINGS, settings(options).encode()), *more]
    if options.policy:
        files.append(File("/etc/cowgate/policy.yaml", options.policy.encode()))
    if options.proxy:
        files += _proxy_files(options.proxy)
    if not options.url:
        files.append(File(f"{HOME}/bundle", bundle()))
    carried = _digest(options, files)
    return _script([*files, *_begin(options, carried)], carried)


def combine(ours: Sequence[Part], theirs: str) -> str:
    """One document of both, the owner's own cloud-config first: ours appends to its lists and replaces nothing.

    Raises UsageError where the other text is of no kind that cloud-init knows by its first line.
    """
    theirs = theirs.lstrip("\ufeff")
    first = theirs.lstrip().split("\n", 1)[0].rstrip()
    kind = next((kind for start, kind in KINDS if first.lower().startswith(start)), None)
    if kind is None:
        raise UsageError(
            f"its first line is {first[:40]!r}, by which cloud-init does not know what it is",
            hint="a cloud-config begins with the line #cloud-config, a script with #!",
        )
    parts = (Part(kind, theirs), *ours)
    boundary = "cowgate-" + hashlib.sha256("".join(part.text for part in parts).encode()).hexdigest()[:24]
    lines = [f'Content-Type: multipart/mixed; boundary="{boundary}"', "MIME-Version: 1.0", ""]
    for part in parts:
        if part.kind == MULTIPART:  # it has headers of its own
            lines += [f"--{boundary}", part.text.lstrip()]
            continue
        lines += [f"--{boundary}", f'Content-Type: text/{part.kind}; charset="utf-8"', "MIME-Version: 1.0"]
        lines += [f'Content-Disposition: attachment; filename="{part.name}"'] if part.name else []
        lines += (
            ["Content-Transfer-Encoding: 7bit", "", part.text]
            if part.text.isascii()
            else ["Content-Transfer-Encoding: base64", "", base64.encodebytes(part.text.encode()).decode()]
        )
    return "\n".join([*lines, f"--{boundary}--", ""])


MULTIPART = "multipart"
# By the first line, as cloud-init itself does it.
KINDS = (
    ("content-type: multipart/", MULTIPART),
    ("mime-version:", MULTIPART),
    ("#cloud-config-jsonp", "cloud-config-jsonp"),
    ("#cloud-config-archive", "cloud-config-archive"),
    ("#cloud-config", "cloud-config"),
    ("#cloud-boothook", "cloud-boothook"),
    ("#include-once", "x-include-once-url"),
    ("#include", "x-include-url"),
    ("#part-handler", "part-handler"),
    ("## template: jinja", "jinja2"),
    ("#!", "x-shellscript"),
)
NO_PROXY = "localhost,127.0.0.1,::1"


def _proxy_files(proxy: str) -> list[File]:
    """For our units, people and git; and for the Docker daemon, which reads its unit only."""
    lines = [f"http_proxy={proxy}", f"https_proxy={proxy}", f"no_proxy={NO_PROXY}"]
    quoted = proxy.replace("%", "%%")
    unit = ["[Service]", *(f'Environment="{name}={quoted}"' for name in ("HTTP_PROXY", "HTTPS_PROXY"))]
    unit.append(f'Environment="NO_PROXY={NO_PROXY}"')
    return [
        File("/etc/environment", "".join(f"{line}\n" for line in lines).encode(), add=True),
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


def size_for(provider: UserDataField, text: str) -> int:
    """How many bytes of the provider's limit `text` takes."""
    raw = text.encode()
    return len(base64.b64encode(raw)) if provider.encoding == "base64" else len(raw)


def demand_fit(provider: UserDataField, text: str) -> None:
    """Raises UsageError, saying by how much, where the text is larger than the provider takes."""
    size = size_for(provider, text)
    if size > provider.limit:
        raise UsageError(
            f"the user-data has {size} bytes, {size - provider.limit} more than {provider.name} takes ({provider.source})",
            hint="write the bundle with --bundle FILE, put it on a web server, and name it with --source URL: that is small",
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


_CARRIED = (".py", ".json", ".md", ".sh", ".service", ".target", ".timer")
_LEFT_OUT = ".de.md"  # a fifth of what is carried, and `explain` has the English page


def _package(directory: str, entries: Iterable["Traversable"]) -> Iterator[tuple[str, bytes]]:
    for entry in entries:
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _package(f"{directory}{entry.name}/", entry.iterdir())
        elif directory in ("services/", "boot/carried/") or (
            entry.name.endswith(_CARRIED) and not entry.name.endswith(_LEFT_OUT)
        ):
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


def _docstring(node: Union[ast.Module, ast.ClassDef, ast.FunctionDef]) -> range:
    """The lines of a docstring; none where the body is nothing else, because a body cannot be empty."""
    first = node.body[0] if node.body else None
    if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant) or not isinstance(first.value.value, str):
        return range(0)
    if len(node.body) == 1 and not isinstance(node, ast.Module):
        return range(0)
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


# -- what starts it --------------------------------------------------------------------------------------------------


def _begin(options: Options, carried: str) -> list[File]:
    """What gets cowgate and starts the check, and goes on with that until it is done, at each boot."""
    words = {
        "once": BEGUN,
        "url": options.url,
        "sha256": options.sha256,
        "install": "yes" if options.install else "",
        "carried": carried,
        **({"http_proxy": options.proxy, "https_proxy": options.proxy, "no_proxy": NO_PROXY} if options.proxy else {}),
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in words.items()]
    if options.proxy:
        lines.append("export http_proxy https_proxy no_proxy")
    interpreter, _, script = _carried("begin").partition("\n")
    begin = "\n".join([interpreter, *lines, _without_comments(script)])
    return [
        File(f"{HOME}/begin", begin.encode()),
        File(f"{HOME}/get", strip(_carried("get").partition("\n")[2]).encode()),
        File(f"{UNIT_DIR}/{BEGIN_UNIT}", unit_text(BEGIN_UNIT).encode(), manager="systemd"),
        File(f"{SERVICE_DIR}/{BEGIN_SERVICE}", service_text(BEGIN_SERVICE).encode(), mode="755", manager="openrc"),
        File(MOTD, MOTD_TEXT.encode(), mode="755", manager="systemd"),
        File(PROFILE, PROFILE_TEXT.encode()),
    ]


def _digest(options: Options, files: Sequence[File]) -> str:
    """What tells this user-data from another: a clone that brings its own begins anew."""
    told = hashlib.sha256(f"{VERSION} {options!r}".encode())
    for file in files:
        told.update(hashlib.sha256(file.content).digest())
    return told.hexdigest()[:16]


def _carried(name: str) -> str:
    return importlib.resources.files("cowgate.boot").joinpath("carried").joinpath(name).read_text()


def _without_comments(script: str) -> str:
    """A shell script without the lines that are comments only."""
    return "".join(line for line in script.splitlines(keepends=True) if not line.lstrip().startswith("#") and line.strip())


# -- the text --------------------------------------------------------------------------------------------------------

# What a here-document in a YAML block gives back byte for byte: lines of text.
_PLAIN = re.compile(r"([ -~]*\n)*\Z")
_TO_BE_READ = 6000  # bytes; what is larger is packed, because fields are small
_END = "END-OF-FILE"
# A file is whole, or as it was. /bin/sh is dash, ash or bash.
_PUT = """\
put() {
mkdir -p "${1%/*}" && cat >"$1.cowgate" && chmod "$2" "$1.cowgate" && mv "$1.cowgate" "$1"
}
"""
_WANTS = f"{UNIT_DIR}/cloud-init.target.wants"
_ENABLE = {
    "systemd": f"mkdir -p {_WANTS} && ln -sf {UNIT_DIR}/{BEGIN_UNIT} {_WANTS}/",
    "openrc": f"ln -sf {SERVICE_DIR}/{BEGIN_SERVICE} /etc/runlevels/default/",
}
MERGE_HOW = (
    "# Beside another cloud-config in one document: lists are put together, whichever comes first.\n"
    "merge_how:\n"
    "  - {name: list, settings: [append]}\n"
    "  - {name: dict, settings: [no_replace, recurse_list]}\n"
    "  - {name: str, settings: []}\n"
)


def _render(options: Options, script: str) -> str:
    out = [
        "#cloud-config",
        f"# {ABOUT}",
        MERGE_HOW.rstrip("\n"),
    ]
    if options.ssh_keys:
        out += ["ssh_authorized_keys:", *(f"  - {json.dumps(key)}" for key in options.ssh_keys)]
    out += [
        "# At every boot, and before anything of this instance: what a reboot cut off goes on at the next one.",
        "bootcmd:",
        "  - &begin |",
        *(f"    {line}" if line else "" for line in script.split("\n")[:-1]),
        "# The same once more, where another part of the user-data has replaced bootcmd.",
        "runcmd:",
        "  - *begin",
    ]
    if options.fail_cloud_init:
        # Only the last command's exit code reaches cloud-init's own status.
        out.append(f'  - ["sh", "{HOME}/begin", "--once"]')
    return "\n".join(out) + "\n"


def _beside(options: Options) -> str:
    """The cloud-config beside the boothook: keys, and a second way to it. Nothing of it is needed where it can run itself."""
    out = ["#cloud-config", MERGE_HOW.rstrip("\n")]
    if options.ssh_keys:
        out += ["ssh_authorized_keys:", *(f"  - {json.dumps(key)}" for key in options.ssh_keys)]
    return "\n".join([*out, "bootcmd:", f"  - &begin [sh, {HOOKS}/{HOOK}]", "runcmd:", "  - *begin"]) + "\n"


def _script(files: Sequence[File], carried: str) -> str:
    """What bootcmd runs: writes all files, once, and starts what is to be started, until that is done.

    In parentheses: other commands of the owner stand before and behind it in one script.
    """
    out = ["(", "umask 022", f'if [ "$(cat {BEGUN} 2>/dev/null)" != {carried} ]; then']
    out += [f'if [ "$(cat {HOME}/carried 2>/dev/null)" != {carried} ]; then', *_PUT.splitlines()]
    for manager, condition in (("", ""), ("systemd", "[ -d /run/systemd/system ]"), ("openrc", "[ -x /sbin/openrc-run ]")):
        out += [f"if {condition}; then"] if condition else []
        out += [line for file in files if file.manager == manager for line in _lines(file)]
        out += [_ENABLE[manager], "fi"] if condition else []
    out += ["sync", f"echo {carried} | put {HOME}/carried 644", "sync", "fi", f"sh {HOME}/begin --start", "fi", ")"]
    return "\n".join(out) + "\n"


def _lines(file: File) -> Iterator[str]:
    """The commands that write one file: a here-document, plain where YAML and the shell give every byte back."""
    text = file.content.decode("latin-1")
    if file.add:
        for line in map(shlex.quote, text.splitlines()):
            yield f"grep -qxF {line} {file.path} 2>/dev/null || echo {line} >>{file.path}"
    elif _PLAIN.match(text) and _END not in text and len(text) + 4 * text.count("\n") < _TO_BE_READ:
        yield f"put {file.path} {file.mode} <<'{_END}'"
        yield from [*text.split("\n")[:-1], _END]
    else:
        packed = gzip.compress(file.content, mtime=0)
        smaller = len(packed) < len(file.content)
        yield f"base64 -d <<'{_END}' | {'gzip -d | ' if smaller else ''}put {file.path} {file.mode}"
        # On one line: each costs five bytes, and what is carried whole has thousands.
        yield from [base64.b64encode(packed if smaller else file.content).decode(), _END]
