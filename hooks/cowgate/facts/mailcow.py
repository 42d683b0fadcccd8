"""The mailcow checkout: is it there, what its mailcow.conf sets (never a secret), what Compose makes of its files.

Compose itself is asked where it is installed: it sends nothing then (remote loaders off, an empty network namespace), and
nothing of its messages is kept, for they quote lines of env files.
"""

import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.errors import CommandFailed, CommandMissing
from cowgate.facts.docker import PLUGIN_DIRECTORIES
from cowgate.facts.fact import Fact
from cowgate.formats import compose as editor
from cowgate.formats import env
from cowgate.formats.composefiles import (
    MAILCOWS,
    USUAL,
    ComposeFiles,
    Model,
    files_of,
    fill,
    parse_model,
    project_of,
    refusal_of,
)
from cowgate.formats.gitfiles import branch_of, has_ref, has_upstream, tracked
from cowgate.formats.yamltext import YamlError

if TYPE_CHECKING:
    from cowgate.machine.host import Completed, Host
    from cowgate.policy.model import Policy

# The keys of mailcow.conf that are kept, with the value that docker-compose.yml or the scripts use where one is not set
# (mailcow-dockerized 2026-07a). An allow-list: a key that is not here may be a password, and stays out of the facts.
DEFAULTS: dict[str, str] = {
    "MAILCOW_HOSTNAME": "",
    "MAILCOW_TZ": "",
    "TZ": "",
    "COMPOSE_PROJECT_NAME": "mailcowdockerized",
    "COMPOSE_FILE": "",
    "DOCKER_COMPOSE_VERSION": "",
    "SMTP_PORT": "25",
    "SMTPS_PORT": "465",
    "SUBMISSION_PORT": "587",
    "IMAP_PORT": "143",
    "IMAPS_PORT": "993",
    "POP_PORT": "110",
    "POPS_PORT": "995",
    "SIEVE_PORT": "4190",
    "DOVEADM_PORT": "127.0.0.1:19991",
    "SQL_PORT": "127.0.0.1:13306",
    "REDIS_PORT": "127.0.0.1:7654",
    "HTTP_PORT": "80",
    "HTTP_BIND": "",
    "HTTPS_PORT": "443",
    "HTTPS_BIND": "",
    "HTTP_REDIRECT": "n",
    "IPV4_NETWORK": "172.22.1",
    "IPV6_NETWORK": "fd4d:6169:6c63:6f77::/64",
    "ENABLE_IPV6": "true",
    "SNAT_TO_SOURCE": "",
    "SNAT6_TO_SOURCE": "",
    "SKIP_LETS_ENCRYPT": "n",
    "SKIP_IP_CHECK": "n",
    "SKIP_HTTP_VERIFICATION": "n",
    "SKIP_UNBOUND_HEALTHCHECK": "n",
    "SKIP_CLAMD": "n",
    "SKIP_OLEFY": "n",
    "SKIP_SOGO": "n",
    "SKIP_SOLR": "n",
    "SKIP_FTS": "n",
    "SOLR_PORT": "127.0.0.1:18983",
    "DISABLE_NETFILTER_ISOLATION_RULE": "n",
}
# Without these the containers make new passwords, and the database that is there refuses them.
PASSWORDS = ("DBPASS", "DBROOT")


CONF = "mailcow.conf"
INSTALL_DOCUMENT = "/var/lib/cowgate/install.json"
COMPOSE_TIMEOUT = 8.0  # seconds for all questions to Compose together; each only reads files
NO_HOME = "/dev/null"  # nothing can be made below it
# A daemon is not asked, nothing is fetched, and our own lock must not be the answer.
QUIET = {
    "COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false",
    "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "false",
    "DOCKER_HOST": "unix:///dev/null/docker.sock",
    "HOME": NO_HOME,
    "COWGATE_READY": "1",
}
INDEX_LIMIT = 4 << 20  # bytes; mailcow's .git/index has 200,000
SCRIPTS = ("", "/generate_config.sh", "/update.sh", "/docker-compose.yml")  # what root runs or reads, "" the directory
SHOWN = 5  # unreadable files that are named

_COMPOSE_MTU = r"""(?m)^[ ]+["']?com\.docker\.network\.driver\.mtu["']?[ ]*:[ ]*["']?([^"'\s#]+)"""


class Finding(NamedTuple):
    """A line of mailcow.conf (from 1) that is not what it should be. `breaks`: Compose or the shell stumbles over it."""

    line: int
    key: str
    problem: str
    breaks: bool


class Override(NamedTuple):
    """The file that Compose merges into mailcow's own, or would; `path` is "" where COMPOSE_FILE leaves no room for one.

    `state` is absent, ok, broken (not YAML), refused (cowgate will not edit it) or unreadable.
    `understood` is False where the file is YAML and yet nothing below could be told (several documents).
    `mtu` is what mailcow-network gets from it, with variables filled in, as text (a person may have written anything).
    `unused` are networks that it configures and nothing uses (a misspelt mailcow-network: Compose ignores them silently);
    `undefined` are networks that its services use and neither file defines (Compose stops). `drops_bridge_name`: an
    !override or !reset takes the name br-mailcow away. `ipam_subnets` are those it repeats for mailcow's network (None: it
    does not). `locked` is told by the text alone where the file is broken. `name` and `network_name` are what it
    calls the project and mailcow's network, as written. `compose_error` is why Compose refuses the files, in our words: ""
    it takes them, None it was not asked, for the reason in `not_asked`; `base_refused`: it refuses mailcow's own file alone.
    """

    state: str = "absent"
    reason: str = ""
    line: Optional[int] = None
    understood: bool = True
    mtu: Optional[str] = None
    locked: bool = False
    networks: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    empty_services: bool = False
    drops_bridge_name: bool = False
    bridge_name: Optional[str] = None
    ipam_subnets: Optional[tuple[str, ...]] = None
    name: str = ""
    network_name: str = ""
    compose_error: Optional[str] = None
    not_asked: str = ""
    base_refused: bool = False
    path: str = ""


class Tree(NamedTuple):
    """The checkout as files. `owner` is the first user other than root who owns one of `SCRIPTS`, and `owned` its path;
    `writable` is the first of them that others may change. `unreadable` are tracked files and directories below data/ that
    the containers' users cannot read (a few of `unreadable_count`). `git`: there is a .git directory; `branch` is "" for a
    detached HEAD; `remote_branch`: origin has the branch; `upstream`: `git merge` knows what to merge; `shallow`, `master`:
    the clone is cut off; it knows origin's master.
    """

    owner: int = 0
    owned: str = ""
    writable: str = ""
    unreadable: tuple[str, ...] = ()
    unreadable_count: int = 0
    git: bool = False
    branch: str = ""
    remote_branch: bool = False
    upstream: bool = False
    shallow: bool = False
    master: bool = False


class Mailcow(NamedTuple):
    """`present`: something is at install_dir; `checkout`: its docker-compose.yml is there.

    `real_dir` is install_dir without links. `conf` holds the keys of DEFAULTS that mailcow.conf sets, with variables filled
    in; None while `conf_state` is not ok (absent, broken, unreadable). `passwords`: it has those of the database.
    `env_link` is where the link .env leads (None: no link): mailcow's generator and Compose read mailcow.conf through it.
    `compose_mtu` is an MTU that somebody wrote into docker-compose.yml itself, which the next update resets.
    `files` are those that Compose reads, `ignored` those of its names that it leaves out, `missing` those that COMPOSE_FILE
    names in vain. `project` is the name that Compose gives the project. `model` is its own answer, None where it gave none.
    `ipv6_fixed`: docker-compose.yml has IPv6 on whatever ENABLE_IPV6 says (checkouts up to 2025-01). `solr`: it publishes
    SOLR_PORT (up to 2024-11b). `begun`: an install of ours
    has not come to its containers yet. `binds_needed`: today's Compose refuses it without HTTP_BIND and HTTPS_BIND (of 2022).
    """

    install_dir: str
    present: bool = False
    checkout: bool = False
    conf_state: str = "absent"
    conf_reason: str = ""
    conf: Optional[dict[str, str]] = None
    findings: tuple[Finding, ...] = ()
    override: Override = Override()
    compose_mtu: Optional[str] = None
    env_link: Optional[str] = None
    real_dir: str = ""
    passwords: bool = False
    files: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    project: str = ""
    model: Optional[Model] = None
    ipv6_fixed: bool = False
    solr: bool = False
    binds_needed: bool = False
    tree: Tree = Tree()
    begun: bool = False

    @property
    def installed(self) -> bool:
        """Whether a mailcow.conf is there, readable or not. Containers and volumes are for facts.docker to tell."""
        return self.conf_state != "absent"

    def setting(self, key: str) -> str:
        """What mailcow will use for a key of DEFAULTS: mailcow.conf's value, else (also where it is empty) the default."""
        return (self.conf or {}).get(key, "") or DEFAULTS[key]

    @property
    def ipv6(self) -> bool:
        """Whether mailcow will use IPv6: its nginx takes anything but "false" for yes, and Compose's default is true."""
        return self.ipv6_fixed or self.setting("ENABLE_IPV6").lower() != "false"

    @property
    def project_name(self) -> str:
        """The name of mailcow's project: what Compose says, else what it would make of the files."""
        if self.model is not None:
            return self.model.project
        return (self.conf or {}).get("COMPOSE_PROJECT_NAME") or self.project or DEFAULTS["COMPOSE_PROJECT_NAME"]

    @property
    def network_name(self) -> str:
        """The name that Docker gives mailcow's network."""
        named = self.model.network if self.model else self.override.network_name
        return named or f"{self.project_name}_mailcow-network"

    @property
    def mtu(self) -> Optional[str]:
        """The MTU that mailcow's network gets from the files, as it is written; None where Docker's own is taken."""
        if self.model is not None and self.model.network and self.model.mtu != "":
            return self.model.mtu
        return self.override.mtu if self.override.mtu is not None else self.compose_mtu

    @property
    def override_path(self) -> str:
        """The file that changes of mailcow's Compose project belong into; "" where COMPOSE_FILE leaves no room for one."""
        return self.override.path if self.override.path or self.files else f"{self.install_dir}/{USUAL}"


def collect(host: "Host", policy: "Policy") -> Fact[Mailcow]:
    """What is at the policy's install directory. Always a value where it can be searched: a missing checkout is one."""
    directory = policy.install_dir
    try:
        host.demand_answer(directory)
        present = host.exists(directory)
        names = host.listdir(directory) if present else []
        base, base_state, _ = _read(host, f"{directory}/{MAILCOWS}")
    except OSError as error:
        return Fact.unreadable(f"{directory}: {error.strerror}")
    text, state, reason = _read(host, f"{directory}/{CONF}")
    everything, conf, findings = parse_conf(text) if state == "ok" else ({}, None, ())
    found = files_of(directory, names, everything, lambda path: _there(host, path))
    override = _override(host, found, base, everything)
    asked = Answer(reason="there is no checkout")
    if base_state == "ok" and override.state != "broken" and state in ("ok", "absent"):
        asked = _ask_compose(host, directory, found, override)
    # the generator writes the usual name; without one Compose takes the directory's
    usual = "" if conf is not None else DEFAULTS["COMPOSE_PROJECT_NAME"]
    return Fact.of(
        Mailcow(
            install_dir=directory,
            present=present,
            checkout=base_state != "absent",
            conf_state=state,
            conf_reason=reason,
            conf=conf,
            findings=findings,
            override=override._replace(compose_error=asked.error, not_asked=asked.reason, base_refused=asked.base_refused),
            compose_mtu=parse_compose_mtu(base),
            env_link=host.readlink(f"{directory}/.env") if present else None,
            real_dir=host.realpath(directory),
            passwords=all(everything.get(key) for key in PASSWORDS),
            files=found.read,
            ignored=found.ignored,
            missing=found.missing,
            project=usual or project_of(directory, found, override.name, everything),
            model=asked.model if conf is not None or not usual else _renamed(asked.model, usual),
            ipv6_fixed=re.search(r"(?m)^[ ]+enable_ipv6:[ ]*[\"']?true", base) is not None,
            solr="${SOLR_PORT:" in base,
            binds_needed="_BIND:-:}" in base,
            begun=_begun(host, directory),
            tree=_tree(host, directory) if base_state != "absent" else Tree(),
        )
    )


def _begun(host: "Host", directory: str) -> bool:
    """Whether the document of an install says that it has not started the containers."""
    try:
        told = json.loads(host.read_or_none(INSTALL_DOCUMENT) or "{}")
        return bool(told.get("directory") == directory and "start" not in {step["name"] for step in told["steps"]})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _renamed(model: Optional[Model], project: str) -> Optional[Model]:
    """A model that was asked for before mailcow.conf names the project, with the name that it will have."""
    if model is None:
        return None
    network = model.network
    if network == f"{model.project}_mailcow-network":
        network = f"{project}_mailcow-network"
    return model._replace(project=project, network=network)


def _there(host: "Host", path: str) -> bool:
    try:
        return host.exists(path)
    except OSError:
        return False


def parse_conf(text: str) -> tuple[dict[str, str], dict[str, str], tuple[Finding, ...]]:
    """All values (to be kept to oneself), those of DEFAULTS, and the findings."""
    entries, problems = env.parse(text)
    everything = env.values(entries)
    # Bytes that are not UTF-8 could not be written into a report.
    kept = {k: v.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for k, v in everything.items() if k in DEFAULTS}
    return everything, kept, tuple(Finding(p.line, p.key, p.text, p.breaks) for p in problems)


def parse_override(text: str, compose: str, values: dict[str, str]) -> Override:
    """What an override means beside mailcow's own docker-compose.yml, `values` filled in for its variables."""
    try:
        seen = editor.inspect(text)
    except YamlError as error:
        state = "broken" if error.broken else "refused"
        return Override(state, error.reason, error.line, error.broken, locked=editor.LOCK_START in text)
    base = {"default", *parse_networks(compose)}
    known = {*base, *seen.networks}
    override = Override(
        state="ok",
        mtu=None if seen.mtu is None else _number(seen.mtu, values),
        locked=seen.locked,
        networks=seen.networks,
        services=seen.services,
        unused=tuple(n for n in seen.configured if n not in base and n not in seen.used and n != editor.NETWORK),
        undefined=tuple(n for n in seen.used if n not in known),
        empty_services=seen.empty_services,
        drops_bridge_name=seen.drops_bridge_name,
        bridge_name=seen.bridge_name,
        ipam_subnets=seen.ipam,
        name=seen.name,
        network_name=fill(seen.network_name, values),
    )
    try:
        editor.set_mtu(text, 1280)
    except YamlError as error:
        return override._replace(state="refused", reason=error.reason, line=error.line)
    return override


def parse_networks(compose: str) -> tuple[str, ...]:
    """The networks that docker-compose.yml defines. mailcow's file is regular: block style, one `networks:` in column 0."""
    block = re.search(r"^networks:[^\n]*\n((?:[ ]+[^\n]*(?:\n|$)|[ ]*\n|#[^\n]*\n)*)", compose, re.M)
    if block is None:
        return ()
    names = re.findall(r"""^([ ]+)["']?([A-Za-z0-9_.-]+)["']?[ ]*:""", block.group(1), re.M)
    least = min((len(indent) for indent, _ in names), default=0)
    return tuple(name for indent, name in names if len(indent) == least)


def parse_compose_mtu(compose: str) -> Optional[str]:
    """The MTU in docker-compose.yml itself, None where there is none (as in the file that mailcow ships)."""
    if "driver.mtu" not in compose:
        return None
    found = re.search(_COMPOSE_MTU, compose)
    return found.group(1) if found else None


def _read(host: "Host", path: str) -> tuple[str, str, str]:
    """Text, state (ok, absent, broken, unreadable) and reason. Raises PermissionError for a directory that is shut."""
    if not host.exists(path):
        return "", "absent", ""
    try:
        text = host.read(path)
    except PermissionError:
        return "", "unreadable", "only root may read it"
    except OSError as error:
        return "", "broken", f"it cannot be read: {error.strerror}"
    if "\0" in text:
        return "", "broken", f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL byte: it is not a text file"
    return text, "ok", ""


def _override(host: "Host", files: ComposeFiles, compose: str, values: dict[str, str]) -> Override:
    if not files.override:
        return Override()
    text, state, reason = _read(host, files.override)
    if state != "ok":
        return Override(state, reason, path=files.override)
    return parse_override(text, compose, values)._replace(path=files.override)


class Answer(NamedTuple):
    """Compose's answer: its model, or why it refuses the files, or the `reason` why there is none."""

    model: Optional[Model] = None
    error: Optional[str] = None
    base_refused: bool = False
    reason: str = ""


def _ask_compose(host: "Host", directory: str, files: ComposeFiles, override: Override) -> Answer:
    """What Compose makes of the files. Where it refuses them, mailcow's own file is tried alone."""
    program = _compose_program(host) if host.live else None
    if program is None:
        return Answer(reason="Compose is not installed" if host.live else "an offline tree runs no Compose")
    until = host.monotonic() + COMPOSE_TIMEOUT
    try:
        said = _config(host, program, directory, until, ("--format", "json"))
        if said.code == 0:
            model = parse_model(said.out, editor.NETWORK, editor.MTU_KEY, editor.BRIDGE_KEY)
            return Answer(model, "") if model else Answer(reason="Compose gave an answer that cowgate does not know")
        if "unknown flag" in said.err or "unknown command" in said.err:
            return Answer(reason=f"{program} is too old to be asked")
        refusal = refusal_of(said.err, override.services)
        if refusal.remote:
            return Answer(reason=refusal.text)
        alone = _config(host, program, directory, until, ("--quiet",), MAILCOWS) if len(files.read) > 1 else said
        return Answer(error=refusal.text, base_refused=alone.code != 0)
    except (CommandMissing, CommandFailed):  # its message may quote what Compose said
        return Answer(reason="Compose gave no answer in time")


def _config(host: "Host", program: str, directory: str, until: float, words: tuple[str, ...], file: str = "") -> "Completed":
    command = (program, *(("--file", file) if file else ()), "config", *words)
    for alone in (("unshare", "-n"), ("unshare", "-r", "-n"), ()):
        if alone and (host.which("unshare") is None or (len(alone) == 2) != (host.euid() == 0)):
            continue
        left = max(0.1, until - host.monotonic())
        said = host.run((*alone, *command), timeout=left, env={**QUIET, "PWD": directory}, cwd=directory, ok=None)
        if not said.err.startswith("unshare:"):  # where no namespace can be made, the switched-off loaders have to do
            break
    return said


def _compose_program(host: "Host") -> Optional[str]:
    """The program of Compose itself: the plugin that `docker compose` takes, else the standalone one."""
    for path in (f"{directory}/docker-compose" for directory in PLUGIN_DIRECTORIES):
        try:
            if host.exists(path) and host.access(path, os.X_OK):
                return path
        except OSError:  # /root is closed to everybody else
            continue
    return host.which("docker-compose")


def _number(text: str, values: dict[str, str]) -> str:
    """Text with variables filled in, as long as the outcome is a number; else as it is written."""
    filled = fill(text, values)
    return filled if filled.isdecimal() else text


# -- the checkout as files ------------------------------------------------------------------------------------------------


def _tree(host: "Host", directory: str) -> Tree:
    owner, owned, writable = 0, "", ""
    for path in (directory + script for script in SCRIPTS):
        try:
            found = host.stat(path)
        except OSError:
            continue
        if found.st_uid != 0 and not owned:
            owner, owned = found.st_uid, path
        others = found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0)  # root's own group is root
        if others and not writable:
            writable = path
    tree = Tree(owner, owned, writable)
    try:
        return _repository(host, directory, tree)
    except OSError:  # a .git that only its owner may look into
        return tree


def _repository(host: "Host", directory: str, tree: Tree) -> Tree:
    git = f"{directory}/.git"
    head = host.read_or_none(f"{git}/HEAD")
    if head is None:
        return tree
    closed = _closed_paths(host, directory, tracked(host.read_bytes(f"{git}/index", INDEX_LIMIT)))
    branch = branch_of(head)
    packed = host.read_or_none(f"{git}/packed-refs") or ""

    def known(name: str) -> bool:
        ref = f"refs/remotes/origin/{name}"
        return host.exists(f"{git}/{ref}") or has_ref(packed, ref)

    return tree._replace(
        unreadable=closed[:SHOWN],
        unreadable_count=len(closed),
        git=True,
        branch=branch,
        remote_branch=bool(branch) and known(branch),
        upstream=bool(branch) and has_upstream(host.read_or_none(f"{git}/config") or "", branch),
        shallow=host.exists(f"{git}/shallow"),
        master=known("master"),
    )


def _closed_paths(host: "Host", directory: str, files: tuple[tuple[str, bool], ...]) -> tuple[str, ...]:
    """The tracked files below data/, and their directories, that others than owner and group cannot read or enter.

    What mailcow makes there itself (keys, dumps) is not tracked, and closed for good reasons.
    """
    paths = [path for path, plain in files if plain and path.startswith("data/")]
    parents = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    closed = []
    for path, wanted in (*((p, 0o005) for p in sorted(parents)), *((p, 0o004) for p in paths)):
        try:
            mode = host.stat(f"{directory}/{path}").st_mode
        except OSError:
            continue
        if mode & wanted != wanted:
            closed.append(path)
    return tuple(closed)
