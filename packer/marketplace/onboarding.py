"""The first login on a machine made from a marketplace image: asks what mailcow needs, tells the verdict, starts the install.

What user-data's policy says already is not asked, and a fully qualified name that the provider gave to the machine is offered.
Interrupted or blocked, it comes back at the next login. While mailcow is being installed each login tells how far it is, and
what went wrong; once mailcow runs it removes itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

sys.path.insert(0, "/opt/cowgate/hooks")

from cowgate.errors import EXIT_TEMPFAIL, CowgateError
from cowgate.facts import system
from cowgate.install import document as install
from cowgate.machine.host import Host
from cowgate.policy import file
from cowgate.policy.load import load
from cowgate.policy.model import Policy
from cowgate.quoting import visible
from cowgate.requirements.catalogue import waivable
from cowgate.requirements.system.hostname import name_problem

HOME = "/opt/cowgate/onboarding"
PROFILE = "/etc/profile.d/zz-cowgate-onboarding.sh"
ANSWERS = "/etc/cowgate/policy.d/60-onboarding.yaml"
LOCK = "/run/cowgate-onboarding.lock"
COMMAND = "/usr/local/sbin/cowgate"
INSTALL = "cowgate-install.service"
BUSY_SECONDS = 5.0

Problem = Callable[[str], str]


def say(text: str) -> None:
    print(f"cowgate: {visible(text)}", flush=True)


def zone_problem(host: Host, zone: str) -> str:
    """Why a time zone cannot be used on this machine; "" where it can."""
    if system.collect(host, Policy(timezone=zone)).value.timezone.wanted_exists:
        return ""
    return "this machine knows no such time zone; they are called like Europe/Berlin, and `timedatectl list-timezones` has all"


def typed(question: str) -> str:
    """One typed line. Raises KeyboardInterrupt, EOFError. select() misses no Ctrl-C: input() does, right before it reads."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake)
    try:
        print(question, end="", flush=True)
        select.select([sys.stdin, woken], [], [])
        line = sys.stdin.readline()
    finally:
        signal.set_wakeup_fd(before)
        os.close(wake)
        os.close(woken)
    if not line:
        raise EOFError
    return line.strip()


def ask(question: str, offered: str, problem: Problem) -> str:
    """The first answer without a problem; each other one is refused with a sentence. Raises KeyboardInterrupt, EOFError."""
    while True:
        answer = typed(f"{question}{f' [{offered}]' if offered else ''}: ") or offered
        told = problem(answer) if answer else "an answer is needed; Ctrl-C asks again at the next login"
        if not told:
            return answer
        say(f"{answer!r}: {told}" if answer else told)


def questions(host: Host, policy: Policy) -> dict[str, str]:
    """What the policy does not say yet, asked for."""
    found = system.collect(host, policy).value
    answers = {}
    if not policy.hostname or name_problem(policy.hostname):
        offered = found.fqdn if found.fqdn and not name_problem(found.fqdn) else ""
        answers["hostname"] = ask("Host name of the mail server, such as mail.your-domain.tld", offered, name_problem)
    if not policy.timezone or zone_problem(host, policy.timezone):
        offered = found.timezone.name if found.timezone.exists else "Etc/UTC"
        answers["timezone"] = ask("Time zone", offered, lambda zone: zone_problem(host, zone))
    return answers


def write(host: Host, answers: dict[str, str]) -> None:
    """The answers, as a part of the policy. Raises CowgateError, OSError."""
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in answers.items())
    file.validate(file.parse(ANSWERS, text.encode()))
    for directory in host.missing_directories(ANSWERS):
        host.mkdir(directory)
    host.write_atomic(ANSWERS, f"# Answered at the first login.\n{text}".encode(), mode=0o644)


def ready() -> bool:
    """Look, repair, look again, print the verdict; whether the gate is open."""
    if os.path.exists("/usr/bin/cloud-init"):
        # The check of the boot comes after it; what user-data still installs or writes counts.
        subprocess.run(["cloud-init", "status", "--wait"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    say("checking this machine, and repairing what can be repaired")
    while subprocess.run([COMMAND, "--setup", "run", "--phase", "boot", "--yes"], check=False).returncode == EXIT_TEMPFAIL:
        say("the check of this boot still runs; waiting for it")
        time.sleep(BUSY_SECONDS)
    asked = subprocess.run([COMMAND, "gate"], check=False, stdout=subprocess.PIPE)
    return asked.returncode == 0 and asked.stdout.startswith(b"open: ")


def remove(host: Host) -> None:
    """Take everything of the onboarding away, but the answers."""
    host.remove(PROFILE)
    host.remove_tree(HOME)


def onboard(host: Host) -> None:
    """The whole dialogue. Raises KeyboardInterrupt and EOFError where the person leaves, CowgateError, OSError."""
    policy = load(host, waivable=waivable())
    begun = install.read(host)
    if begun is None and host.exists(f"{policy.install_dir}/mailcow.conf"):
        remove(host)  # set up in another way
        return
    if begun is not None:
        if goes_on(host, begun):
            return
        policy = load(host, waivable=waivable())
    else:
        say("mailcow is not set up on this machine yet. Ctrl-C leaves this for the next login.")
        answers = questions(host, policy)
        if answers:
            write(host, {**answered(host), **answers})
            policy = load(host, waivable=waivable())
    if not confirmed(policy):
        say(f"nothing was installed; answer again with {HOME}/start, or change {ANSWERS}")
        return
    if not ready():
        say(f"mailcow was not installed. Put right what blocks, then log in again or run {HOME}/start")
        return
    # The unit goes through the gate once more, and ends no sooner when this line is cut.
    subprocess.run(["systemctl", "add-wants", "--quiet", "cowgate-ready.target", INSTALL], check=True)
    subprocess.run(["systemctl", "reset-failed", INSTALL], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["systemctl", "start", "--no-block", INSTALL], check=True)
    say("mailcow is being installed in the background; to watch it: journalctl -fu cowgate-install")
    say("each login tells how far it is, until mailcow runs")


def goes_on(host: Host, begun: install.Document) -> bool:
    """Tell how far the install is; whether there is nothing to ask, because it runs, waits, or is done."""
    if begun.state == install.DONE:
        remove(host)
        say("mailcow runs; what was asked at the first login is gone from this machine")
        return True
    cut_off = install.was_cut_off(host, begun)
    say(state_of(begun, cut_off))
    if begun.error:
        say(f"{begun.error.message}{f' ({begun.error.hint})' if begun.error.hint else ''}")
    if begun.state in (install.RUNNING, install.WAITING) and not cut_off:
        say("to watch it: journalctl -fu cowgate-install")
        return True
    return ask("Try again now? (y/n)", "y", yes_or_no).lower().startswith("n")


def state_of(begun: install.Document, cut_off: bool) -> str:
    """One sentence: where the install of mailcow stands."""
    step = install.STEPS.get(begun.current, "its beginning")
    if cut_off:
        return f"the install of mailcow was cut off at {step}; it goes on where it stopped"
    if begun.state == install.WAITING and begun.next_try:
        at = time.strftime("%H:%M", time.localtime(begun.next_try))
        return f"the install of mailcow waits at {step}, and tries again at {at}"
    return {
        install.RUNNING: f"mailcow is being installed: {step}",
        install.WAITING: f"the install of mailcow waits at {step}, and tries again",
        install.BLOCKED: f"the install of mailcow is blocked at {step}",
    }.get(begun.state, f"the install of mailcow FAILED at {step}")


def confirmed(policy: Policy) -> bool:
    """Show what cannot be changed easily later, with the DNS records that go with it, and ask before anything is installed."""
    say(f"host name {policy.hostname}, time zone {policy.timezone}")
    say("these DNS records go with this name; mail is refused without them:")
    subprocess.run([COMMAND, "dns-plan"], check=False)
    question = f"Check this machine, and install mailcow as {policy.hostname} when it is ready? (y/n)"
    return not ask(question, "y", yes_or_no).lower().startswith("n")


def answered(host: Host) -> dict[str, str]:
    """What was answered at an earlier login; an answer that is asked for again replaces it."""
    text = host.read_or_none(ANSWERS)
    values = file.parse(ANSWERS, text.encode()).values if text else {}
    return {key: str(value) for key, value in values.items()}


def yes_or_no(answer: str) -> str:
    return "" if answer.lower() in ("y", "yes", "n", "no") else "y or n"


def main() -> int:
    """0, whatever happened: a login goes on."""
    if os.geteuid() != 0:
        say(f"this needs root: sudo {HOME}/start")
        return 0
    try:
        with open(LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            onboard(Host())
    except BlockingIOError:
        say("mailcow is being set up in another session")
    except (KeyboardInterrupt, EOFError):
        print()
        say(f"left; it comes back at the next login, and with {HOME}/start")
    except CowgateError as error:
        say(f"{error.message}{f' ({error.hint})' if error.hint else ''}")
    except (OSError, ValueError, ImportError, subprocess.SubprocessError) as error:
        say(f"{error}; it comes back at the next login")
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
