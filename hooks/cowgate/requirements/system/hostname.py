"""system.hostname: mailcow has a fully qualified host name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

LABEL_LENGTH = 63  # RFC 1123 §2.1, RFC 1035 §2.3.4

NAME_LENGTH = 253  # RFC 1035: 255 bytes on the wire

LABELS = 3  # mailcow: the host name "consists of at least three parts"

# RFC 2606 and RFC 6761: nobody can own these, so they are placeholders that were never replaced; .tld is none of the root's.
RESERVED_DOMAINS = ("example.com", "example.net", "example.org")

RESERVED_TLDS = ("example", "invalid")

PLACEHOLDER_TLDS = ("tld", "changeme", "placeholder")

# The label below the top level in the examples of manuals, mailcow's and ours among them.
PLACEHOLDERS = (
    "your-domain",
    "yourdomain",
    "your-server",
    "yourserver",
    "my-domain",
    "deine-domain",
    "ihre-domain",
    "changeme",
)

# Names of a network at home or in an office: other mail servers cannot look them up (RFC 6761, 6762, 7686, 8375, 9476; ICANN
# reserved .internal on 2024-07-29, and will never delegate .corp, .home and .mail). Not .test: it is for tests.
PRIVATE_TLDS = (
    *("local", "localhost", "localdomain", "lan", "internal", "intranet", "private", "corp", "home", "mail"),
    *("onion", "alt", "workgroup"),
)

PRIVATE_DOMAINS = ("home.arpa", "in-addr.arpa", "ip6.arpa", "fritz.box", "speedport.ip", "easy.box")


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """MAILCOW_HOSTNAME of mailcow.conf where there is one, else the policy's. The generator accepts anything."""
    conf = facts.mailcow.value.conf if facts.mailcow.state == "value" else None
    configured = (conf or {}).get("MAILCOW_HOSTNAME", "")
    name, source = (configured, "mailcow.conf") if configured else (policy.hostname, "the policy")
    expected = "a host name with at least three parts, such as mail.your-domain.tld"
    proposed = facts.system.value.fqdn
    command = set_hostname(proposed if not name_problem(proposed) else "mail.your-domain.tld")
    if not name:
        return failed(
            "no host name is set for mailcow, neither in the policy nor in mailcow.conf",
            remedy="write the mail server's own name into the policy, in place of the name in this example",
            commands=(command,),
            expected=expected,
            observed="none",
        )
    problem = name_problem(name)
    if problem:
        return failed(
            f"{name!r} ({source}) cannot be mailcow's host name: {problem}",
            remedy="correct MAILCOW_HOSTNAME in mailcow.conf" if configured else "write the right name into the policy",
            commands=() if configured else (command,),
            expected=expected,
            observed=name,
        )
    if configured and policy.hostname and policy.hostname.lower() != configured.lower():
        return warned(
            f"mailcow.conf says {configured}, the policy says {policy.hostname}; mailcow uses the first",
            remedy="make both the same",
            commands=(set_hostname(configured),),
            expected=expected,
            observed=configured,
        )
    return passed(f"{name} ({source})", expected=expected)


def set_hostname(name: str) -> tuple[str, ...]:
    """The one command that writes the host name into the policy, readable by everybody as the gate wants it."""
    file = "/etc/cowgate/policy.d/hostname.yaml"
    return ("sh", "-c", f"umask 022; mkdir -p /etc/cowgate/policy.d; echo 'hostname: {name}' > {file}")


def name_problem(name: str) -> str:
    """Why a name cannot be a mail server's; "" where it can."""
    labels = name.split(".")
    if name.endswith("."):
        return "it ends with a dot"
    if len(labels) < LABELS:
        return f"it has {len(labels)} part{'s' if len(labels) > 1 else ''}, but needs at least three"
    if len(name) > NAME_LENGTH:
        return f"it is longer than {NAME_LENGTH} characters"
    for label in labels:
        plain = label.isascii() and label.replace("-", "a").isalnum()
        if not plain or len(label) > LABEL_LENGTH or label.startswith("-") or label.endswith("-"):
            return f"{label!r} is not a valid part: use 1 to 63 letters, digits or hyphens, without a hyphen at either end"
    if labels[-1].isdecimal():
        return "it ends with a number, like an address"
    lower = name.lower()
    *_, second, top = lower.split(".")
    if _below(lower, RESERVED_DOMAINS) or top in RESERVED_TLDS:
        return "this name is reserved for documentation (RFC 2606); use a name you own"
    if top in PLACEHOLDER_TLDS or second in PLACEHOLDERS:
        return "it is the placeholder of an example; use a name you own"
    if top in PRIVATE_TLDS or _below(lower, PRIVATE_DOMAINS):
        return "it is a name of a private network, which other mail servers cannot look up"
    return ""


def _below(name: str, domains: tuple[str, ...]) -> bool:
    return name.endswith(tuple(f".{domain}" for domain in domains))


ROW = Requirement(
    id="system.hostname",
    title="mailcow has a fully qualified host name",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("system", "mailcow"),
    judge=judge,
)
