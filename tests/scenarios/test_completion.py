"""The completions in the shells that they are for: bash, zsh and fish of Debian's complete a command and an option.

zsh completes on a terminal only: so somebody types there, in all three alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bare import Bare

COMPLETION = Path(__file__).resolve().parents[2] / "hooks" / "release" / "completion"
# Where the package puts them (hooks/release), so that the shells find them as they do on a machine.
PLACES = {
    "cowgate.bash": "/usr/share/bash-completion/completions/cowgate",
    "_cowgate": "/usr/share/zsh/vendor-completions/_cowgate",
    "cowgate.fish": "/usr/share/fish/vendor_completions.d/cowgate.fish",
}
SHELLS = {
    "bash": (["bash", "--norc", "-i"], ". /usr/share/bash-completion/bash_completion"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit && compinit -u"),
    "fish": (["fish", "--private"], "set fish_greeting"),
}
# Types a line with a tab in it and shows what the command that stands there then was called with.
TYPIST = """\
import os, pty, re, select, sys, time
setup, typed, shell = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", HOME="/root", LC_ALL="C.UTF-8")
    os.execvp(shell[0], shell)
heard = ""
def listen(words, seconds):
    global heard
    end = time.monotonic() + seconds
    while words not in heard and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                heard += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                break
listen("\\0", 3)
for line in (setup, "echo set''tled"):
    os.write(terminal, (line + "\\r").encode())
listen("settled", 30)
heard = ""
os.write(terminal, (typed + "\\t").encode())
listen("\\0", 4)
os.write(terminal, b"\\r")
listen("ASKED:", 10)
listen("\\0", 1)
print("".join(re.findall("ASKED:.*", heard)) or repr(heard))
"""


@pytest.fixture(scope="module")
def desk() -> Iterator[Bare]:
    if not os.environ.get("COWGATE_LONG"):
        pytest.skip("zsh and fish come from the mirror; tests/run --long --layer scenarios has them")
    # A command of that name that tells how it was called.
    files = {path: (COMPLETION / name).read_text() for name, path in PLACES.items()}
    command = {"/usr/local/bin/cowgate": ('#!/bin/sh\necho "ASKED: $*."\n', 0o755), "/root/typist.py": TYPIST}
    with Bare("trixie", files={**files, **command}) as machine:
        machine.run(["apt-get", "-q", "update"], network=True, check=True)
        install = ["apt-get", "-q", "-y", "--no-install-recommends", "install", "zsh", "fish", "bash-completion"]
        machine.run(install, network=True, check=True, env={"DEBIAN_FRONTEND": "noninteractive"})
        yield machine


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("cowgate fire", "firewall-plan"),
        ("cowgate check --offl", "check --offline"),
        ("cowgate check --phase ea", "check --phase early"),
    ],
)
def test_it_completes(desk: Bare, shell: str, typed: str, asked: str) -> None:
    command, setup = SHELLS[shell]
    done = desk.run(["python3", "/root/typist.py", setup, typed, *command], check=True)
    assert done.stdout.strip().rstrip(".").split() == ["ASKED:", *asked.split()], done.stdout


@pytest.mark.parametrize(("shell", "name"), [("bash", "cowgate.bash"), ("zsh", "_cowgate"), ("fish", "cowgate.fish")])
def test_it_parses(desk: Bare, shell: str, name: str) -> None:
    done = desk.run([shell, "-n", PLACES[name]])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
