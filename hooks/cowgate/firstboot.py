"""`cowgate user-data` and `cowgate install`: the commands around a first boot."""

from __future__ import annotations

import os
import re

from cowgate import cli
from cowgate.errors import EXIT_BLOCKED, EXIT_READY, UsageError
from cowgate.host import Host
from cowgate.record import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.userdata import Options, Provider

SSH_KEY = r"(ssh-(ed25519|rsa|dss)|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( .*)?\Z"
KEY_FILE_LIMIT = 1 << 16  # bytes of a file of public keys


# -- user-data -------------------------------------------------------------------------------------------------------


def user_data_options(parser: cli.Parser) -> None:
    """The options of `cowgate user-data`."""
    parser.add_argument("--hostname", metavar="NAME", default="", help="mailcow's host name, such as mail.your-domain.tld")
    parser.add_argument(
        "--ask-later", action="store_true", help="no host name yet: the machine stays blocked until it has one"
    )
    parser.add_argument("--timezone", metavar="ZONE", default="", help="such as Europe/Berlin; default: the machine's own")
    parser.add_argument("--policy", metavar="FILE", default="", help="carry this policy")
    parser.add_argument("--install", action="store_true", help="install mailcow when the machine is ready")
    parser.add_argument(
        "--ssh-key", metavar="KEY", action="append", default=[], help="a public key, or a file of them; may be repeated"
    )
    parser.add_argument("--provider", metavar="NAME", default="", help="refuse what this provider's field does not take")
    parser.add_argument("--url", metavar="URL", default="", help="fetch cowgate from there instead of carrying it")
    parser.add_argument("--sha256", metavar="HEX", default="", help="the digest of what --url must give")
    parser.add_argument(
        "--proxy",
        metavar="URL",
        default="",
        help="the web is reached through this HTTP proxy; anybody on the machine may see it",
    )
    parser.add_argument("--bundle", metavar="FILE", default="", help="write the file for --url, and print its digest")
    parser.add_argument(
        "--fail-cloud-init", action="store_true", help="a blocked machine also makes `cloud-init status` an error"
    )
    parser.add_argument("--output", metavar="FILE", default="", help="write there instead of standard output")


def user_data(args: cli.Arguments) -> int:
    """Build and print. Raises UsageError."""
    try:
        from cowgate import userdata
    except ImportError:
        raise UsageError(
            "the cowgate that came by user-data can not make user-data", hint="make it where the whole of cowgate is"
        ) from None
    if args.bundle:
        args.sha256 = _write_bundle(args.bundle, args.sha256)
        if not args.url:
            print(args.sha256)
            return EXIT_READY
    provider = _provider(args.provider)
    options = _options(args)
    text = userdata.build(options)
    if provider:
        userdata.demand_fit(provider, text)
        cli.progress(f"{userdata.size_for(provider, text)} bytes; {provider.name} takes {provider.limit} ({provider.source})")
    else:
        fit = [p.name for p in userdata.PROVIDERS.values() if userdata.size_for(p, text) <= p.limit]
        cli.progress(f"{len(text.encode())} bytes; fits {', '.join(fit) or 'no provider'}")
    cli.emit(args, text)
    return EXIT_READY


def _write_bundle(path: str, expected: str) -> str:
    import hashlib

    from cowgate import userdata

    content = userdata.bundle()
    digest = hashlib.sha256(content).hexdigest()
    if expected and expected != digest:
        raise UsageError(f"--sha256: the bundle of this cowgate has the digest {digest}", hint="leave --sha256 out")
    try:
        Host().save(os.path.abspath(path), content)
    except OSError as error:
        raise UsageError(f"--bundle: {path}: {error.strerror}") from None
    cli.progress(f"{path}: {len(content)} bytes")
    return digest


def _provider(name: str) -> Provider | None:
    from cowgate.policyfile import suggestion
    from cowgate.userdata import PROVIDERS

    if name and name not in PROVIDERS:
        raise UsageError(f"unknown provider {name!r}{suggestion(name, PROVIDERS)}", hint=f"known: {', '.join(PROVIDERS)}")
    return PROVIDERS[name] if name else None


def _options(args: cli.Arguments) -> Options:
    """The options, each of them checked as the machine will check it. Raises UsageError."""
    from cowgate import policyfile
    from cowgate.policy import Policy, load
    from cowgate.requirements.system import name_problem
    from cowgate.userdata import Options, settings

    policy, text = Policy(), ""
    if args.policy:
        path = os.path.abspath(args.policy)
        policy = load(Host(), path)
        text = Host().read(path).lstrip("\ufeff")
    hostname = args.hostname or policy.hostname
    if not hostname and not args.ask_later:
        raise UsageError("no host name is given", hint="--hostname mail.your-domain.tld, or --ask-later")
    problem = name_problem(hostname) if hostname else ""
    if problem:
        raise UsageError(f"{hostname!r} can not be mailcow's host name: {problem}")
    if bool(args.url) != bool(args.sha256):
        raise UsageError("--url and --sha256 go together", hint="--bundle FILE writes the file and knows its digest")
    if args.url and not re.match(r"https?://[!-~]+\Z", args.url):
        raise UsageError(f"--url: {args.url!r} is no address that begins with https:// or http://")
    if args.sha256 and not re.match(r"[0-9a-f]{64}\Z", args.sha256):
        raise UsageError("--sha256: a digest has 64 digits 0-9 and a-f, as sha256sum prints it")
    if args.proxy and not re.match(r"https?://[A-Za-z0-9][A-Za-z0-9_.:@%~+/\[\]-]*\Z", args.proxy):
        raise UsageError(f"--proxy: {args.proxy!r} is no address like http://proxy.your-domain.tld:3128")
    options = Options(
        hostname=args.hostname,
        timezone=args.timezone,
        policy=text,
        install=args.install,
        ssh_keys=tuple(key for given in args.ssh_key for key in _keys(given)),
        url=args.url,
        sha256=args.sha256,
        proxy=args.proxy,
        fail_cloud_init=args.fail_cloud_init or policy.fail_cloud_init,
    )
    policyfile.validate(policyfile.parse("the options", settings(options).encode()))
    return options


def _keys(given: str) -> list[str]:
    """The public keys in a file, or the one that was given as text."""
    text = given
    if " " not in given.strip():
        try:
            text = Host().read(os.path.abspath(given), KEY_FILE_LIMIT)
        except OSError as error:
            raise UsageError(f"--ssh-key: {given}: {error.strerror}") from None
    if "PRIVATE KEY" in text:
        raise UsageError(f"--ssh-key: {given} is a private key", hint="give the file that ends in .pub")
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for key in keys:
        if not re.match(SSH_KEY, key):
            raise UsageError(f"--ssh-key: {key[:40]!r} is no public key", hint="it begins like ssh-ed25519 AAAA...")
    if not keys:
        raise UsageError(f"--ssh-key: there is no key in {given!r}")
    return keys


# -- install ---------------------------------------------------------------------------------------------------------


def install_options(parser: cli.Parser) -> None:
    """`cowgate install` has none: what is installed stands in the policy."""
    parser.set_defaults(policy="", offline=False, root="/")


def install(args: cli.Arguments) -> int:
    """Install mailcow behind the gate. Returns 0, or the exit code of the check that keeps it shut."""
    from cowgate import gate
    from cowgate.facts import system
    from cowgate.install import install as perform

    host = Host()
    if host.euid() != 0:
        raise UsageError("install changes the machine and needs root", hint="`cowgate check` looks without root")
    decision = gate.decide()
    if not decision.open:
        cli.progress(f"the gate is shut: {decision.sentence}")
        return EXIT_BLOCKED
    policy = cli.policy_of(args, host)
    return perform(
        host,
        policy,
        hostname=policy.hostname,
        timezone=policy.timezone or system.collect(host, policy).value.timezone.name,
        check_again=lambda: cli.main(["run", "--phase", "install", "--yes"]),
        progress=cli.progress,
    )
