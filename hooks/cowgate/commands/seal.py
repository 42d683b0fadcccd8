"""`cowgate seal`: make a machine or a tree fit to be an image."""

from __future__ import annotations

import argparse
import sys

from cowgate.commands import common
from cowgate.errors import EXIT_BLOCKED, EXIT_READY
from cowgate.image import seal as image
from cowgate.providers import PROVIDERS

SUMMARY = "make a machine or a tree fit to be an image: nothing of this machine, nothing secret"
DETAILS = """\
The last step of an image build. Resets what belongs to one machine; while something secret is there, it names
it and changes nothing. It cannot be undone. Exits 0 when sealed and 3 when not. See `cowgate explain image`."""


class Options(common.Options):
    """`provider`: seal as this provider wants it. `check`: only look."""

    provider: str
    check: bool


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--root", metavar="DIR", default="/", help="the tree of an image, instead of this machine")
    parser.add_argument("--policy", metavar="FILE", default="", help="use this policy instead of /etc/cowgate/policy.yaml")
    parser.add_argument(
        "--provider",
        metavar="NAME",
        choices=tuple(sorted(id for id, provider in PROVIDERS.items() if provider.profile is not None)),
        default="",
        help="seal as this provider wants it, and put it into the policy of the image",
    )
    parser.add_argument("--check", action="store_true", help="only look: exit 3 when something is left, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: Options) -> int:
    """Reset what belongs to one machine, refuse what is secret. Returns 0 when sealed, 3 when not."""
    host = common.host_of(options)
    policy = common.policy_of(options, host)
    if options.provider:
        policy = policy._replace(provider=options.provider)
    if options.check:
        result = image.look(host, policy)
    else:
        if host.live and not options.yes and sys.stdin.isatty() and not _agreed():
            common.progress("nothing was changed")
            return EXIT_BLOCKED
        result = image.seal(host, policy, common.progress)
        if options.provider and not result.left:
            image.choose(host, options.provider)
    common.emit(options, image.render(result))
    return EXIT_BLOCKED if result.left else EXIT_READY


def _agreed() -> bool:
    sys.stderr.write(
        "This makes an image of this machine: its SSH host keys, authorized keys, passwords, logs and network state are\n"
        "removed for good, and nobody can log in to it again before it is cloned. Go on? [y/N] "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
