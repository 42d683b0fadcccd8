"""What programs say of the files that they will read: dockerd of its configuration, before anything restarts it."""

from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.errors import CowgateError
from cowgate.facts.dockerd import path_of, text_or_reason, unit_options, unit_words
from cowgate.facts.fact import Fact
from cowgate.quoting import Origin, quoted

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

TIMEOUT = 8.0  # seconds; it takes 0.05
NOT_THERE = ("unknown flag", "unknown shorthand")  # an engine before 23 has no --validate


class Answer(NamedTuple):
    """`refused` says whether the program will not take the file: None where it was not asked, or gave no answer (`reason`).

    `said` are its own words, where they may stand in a report: of a file that everybody can read.
    """

    refused: Optional[bool] = None
    said: str = ""
    reason: str = ""


class Asked(NamedTuple):
    """`dockerd`: what `dockerd --validate` says of daemon.json together with the options of its unit."""

    dockerd: Answer = Answer()


def collect(host: "Host", policy: "Policy") -> Fact[Asked]:
    """Always a value. An offline tree's programs are not started."""
    if not host.live:
        return Fact.of(Asked(Answer(reason="an offline tree's programs are not started")))
    if not host.which("dockerd"):
        return Fact.of(Asked(Answer(reason="dockerd is not installed")))
    path = path_of(unit_options(host))
    if text_or_reason(host, path)[0] is None:
        return Fact.of(Asked(Answer(reason=f"there is no {path}")))
    return Fact.of(Asked(validate(host)))


def validate(host: "Host") -> Answer:
    """Ask dockerd about daemon.json as it is now. It writes nothing, and needs neither a network nor the daemon."""
    path = path_of(unit_options(host))
    try:
        done = host.run(("dockerd", "--validate", "--config-file", path, *unit_words(host)), timeout=TIMEOUT, ok=None)
        public = bool(host.stat(path).st_mode & 0o004)
    except CowgateError as error:
        return Answer(reason=error.message)
    except OSError as error:
        return Answer(reason=error.strerror or str(error))
    said = next((line for line in reversed((done.err or done.out).strip().splitlines()) if line.strip()), "")
    if done.code == 0:
        return Answer(False)
    if any(words in done.err for words in NOT_THERE):
        return Answer(reason="this engine is older than 23 and cannot be asked")
    words = said.removeprefix(f"unable to configure the Docker daemon with file {path}: ")
    return Answer(True, quoted(Origin.READABLE if public else Origin.FOREIGN, words).report)
