"""The mailcow install behind the gate: clone at the policy's ref, check once more, configure, pull, start.

The caller reaches this only through an open gate; the gate is asked again after the clone, because only then the MTU and
the override of the checkout can be judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cowgate.errors import CommandFailed, StateError, UsageError
from cowgate.formats import env

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# Seconds. A clone of some 100 MB and the pull of 18 images (about 4 GB) over a slow line.
CLONE_TIMEOUT = 900.0

CONFIGURE_TIMEOUT = 300.0

PULL_TIMEOUT = 5400.0

START_TIMEOUT = 900.0

# How far an install came that has not ended: one that was cut off goes on, and takes no half-written file for a whole one.
STAGE = "/var/lib/cowgate/install"

CONFIGURING, CONFIGURED = "configuring", "configured"

# Not the lock of the runs, which the check in the middle takes. The unit's install and one by hand must not meet.
LOCK = "/var/lib/cowgate/install.lock"


def install(
    host: Host,
    policy: Policy,
    *,
    hostname: str,
    timezone: str,
    check_again: Callable[[], int],
    progress: Callable[[str], None],
) -> int:
    """Install mailcow and start it. Returns 0, or the exit code of `check_again` when the gate stays shut.

    `check_again` runs the install phase and returns its exit code. Raises CommandFailed, StateError, UsageError, and
    BusyError where another install is under way.
    """
    with host.locked(LOCK):
        return _install(host, policy, hostname, timezone, check_again, progress)


def _install(
    host: Host,
    policy: Policy,
    hostname: str,
    timezone: str,
    check_again: Callable[[], int],
    progress: Callable[[str], None],
) -> int:
    host.set_umask(0o022)  # files that containers read as other users (mailcow#866)
    directory = policy.install_dir
    stage = (host.read_or_none(STAGE) or "").strip()
    configured = host.exists(f"{directory}/mailcow.conf")
    if configured:
        if not stage:
            progress(f"mailcow is already configured in {directory}: nothing to install")
            return 0
        if stage == CONFIGURING:
            raise StateError(
                f"an earlier install was cut off while it wrote {directory}/mailcow.conf, which may lack anything",
                hint=f"remove {directory}/mailcow.conf, then start the install again",
            )
    clone(host, policy, progress)
    progress("checking once more, now that the checkout is there")
    code = check_again()
    if code != 0:
        return code
    if not configured:  # never seen, or removed since to begin anew
        host.write_atomic(STAGE, f"{CONFIGURING}\n".encode())
        configure(host, policy, hostname, timezone, progress)
        host.write_atomic(STAGE, f"{CONFIGURED}\n".encode())
    start(host, directory, progress)
    host.remove(STAGE)
    progress(f"mailcow runs: https://{hostname}/admin (change the default password of the admin account now)")
    return 0


def clone(host: Host, policy: Policy, progress: Callable[[str], None]) -> None:
    """Bring the repository to the install directory at the pinned ref. A checkout that is there is kept as it is."""
    directory, wanted = policy.install_dir, policy.install
    if host.exists(f"{directory}/.git"):
        progress(f"using the checkout in {directory}")
        return
    if host.listdir(directory):
        raise UsageError(
            f"{directory} is not empty and holds no checkout of mailcow",
            hint="move it away, or set install_dir in the policy to another directory",
        )
    progress(f"cloning {wanted.repository} at {wanted.ref} into {directory}")
    # Cloned beside the target and renamed: a clone that was cut off must not look like a checkout.
    partial = f"{directory}.cowgate-clone"
    host.remove_tree(partial)
    host.run(["git", "clone", "--quiet", "--no-checkout", wanted.repository, partial], timeout=CLONE_TIMEOUT)
    host.run(["git", "-C", partial, "checkout", "--quiet", wanted.ref], timeout=CLONE_TIMEOUT)
    host.rename(partial, directory)


def configure(host: Host, policy: Policy, hostname: str, timezone: str, progress: Callable[[str], None]) -> None:
    """Run mailcow's own generator without a question: its environment is set and its standard input is closed."""
    directory = policy.install_dir
    environment = {
        "MAILCOW_HOSTNAME": hostname,
        "MAILCOW_TZ": timezone,
        "SKIP_CLAMD": "y" if policy.fix.skip_clamd else "n",
    }
    progress(f"configuring mailcow for {hostname}, time zone {timezone}")
    # --dev keeps the generator from checking out a branch over the pinned ref; it changes nothing else.
    done = host.run(["./generate_config.sh", "--dev"], cwd=directory, env=environment, timeout=CONFIGURE_TIMEOUT, ok=None)
    if done.code != 0 or not host.exists(f"{directory}/mailcow.conf"):
        said = (done.err.strip() or done.out.strip()).splitlines()
        raise CommandFailed(
            f"mailcow's generate_config.sh ended with exit code {done.code} and no usable mailcow.conf"
            f" ({said[-1] if said else 'no message'})",
            hint=f"run it by hand in {directory} to see what it asks",
        )
    _set_what_the_generator_does_not_ask(host, policy)


def _set_what_the_generator_does_not_ask(host: Host, policy: Policy) -> None:
    """Keys of mailcow.conf that the policy chose and that generate_config.sh takes from no environment."""

    chosen = {"SKIP_FTS": policy.fix.skip_fts, "SKIP_UNBOUND_HEALTHCHECK": policy.fix.skip_unbound_healthcheck}
    path = f"{policy.install_dir}/mailcow.conf"
    before = text = host.read(path)
    for key, on in chosen.items():
        text = env.set_value(text, key, "y") if on else text
    if text != before:
        host.write_atomic(path, text.encode("utf-8", "surrogateescape"))


def start(host: Host, directory: str, progress: Callable[[str], None]) -> None:
    """Pull the images and bring the containers up."""
    compose = compose_command(host)
    environment = {"COWGATE_READY": "1"}  # our own calls pass the compose lock: the gate was just asked
    progress("pulling the images (this takes minutes)")
    host.run([*compose, "pull", "--quiet"], cwd=directory, env=environment, timeout=PULL_TIMEOUT)
    progress("starting the containers")
    host.run([*compose, "up", "-d", "--quiet-pull"], cwd=directory, env=environment, timeout=START_TIMEOUT)


def compose_command(host: Host) -> tuple[str, ...]:
    """The compose to use: the plugin of the Docker CLI, else the standalone command. Raises StateError without one."""
    if host.which("docker"):
        found = host.run(["docker", "compose", "version", "--short"], ok=None)
        if found.code == 0:
            return ("docker", "compose")
    if host.which("docker-compose"):
        return ("docker-compose",)
    raise StateError("neither `docker compose` nor docker-compose is installed", hint="see `cowgate explain docker.compose`")
