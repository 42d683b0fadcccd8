"""The log of an install: what git, the generator, Compose and containers say is for root alone, escaped, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cowgate.quoting import Origin, quoted

if TYPE_CHECKING:
    from cowgate.machine.host import Completed, Host

PATH = "/var/log/cowgate-install.log"
TIE = ("setpriv", "--pdeathsig", "KILL", "--")
LIMIT = 8 << 20  # bytes; one that is longer begins anew, an install writes some 100 kB


class Log:
    """Appends to PATH (mode 0600), and runs foreign commands with their output in it."""

    def __init__(self, host: Host, secrets: Sequence[str] = ()) -> None:
        self.host = host
        self._tie: tuple[str, ...] | None = None
        self.secrets = tuple(secret for secret in secrets if secret)

    def note(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.host.now()))
        for secret in self.secrets:
            text = text.replace(secret, "(hidden)")
        self.host.append_log(PATH, f"{stamp} {quoted(Origin.FOREIGN, text.rstrip()).root}\n", LIMIT)

    def _bound(self) -> tuple[str, ...]:
        """What ties a command to this process: behind an install that was killed, no generator goes on writing."""
        if self._tie is None:
            asked = self.host.run([*TIE, "true"], ok=None) if self.host.which(TIE[0]) else None
            self._tie = TIE if asked is not None and asked.code == 0 else ()  # BusyBox has one that cannot
        return self._tie

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> Completed:
        """Run a command; its exit code is for the caller to judge. Raises CommandMissing, CommandFailed (no answer in
        time)."""
        self.note("$ " + " ".join(argv))
        done = self.host.run([*self._bound(), *argv], timeout=timeout, cwd=cwd, env=env, input=input, ok=None)
        said = "\n".join(text.strip() for text in (done.out, done.err) if text.strip())
        self.note(f"{said}\nexit code {done.code}" if said else f"exit code {done.code}")
        return done
