"""How far an install came: one document that anybody on the machine may read, without a secret and without foreign text.

It is written before a step begins and after it ended, so that an install that was killed, or whose machine was restarted, is
known for what it is, and goes on where it stopped.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate import codec
from cowgate.errors import CowgateError

if TYPE_CHECKING:
    from cowgate.machine.host import Host

PATH = "/var/lib/cowgate/install.json"
VERSION = 1
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# The steps in their order, with what each is called in a sentence.
STEPS = {
    "look": "the look for another mailcow",
    "source": "the clone",
    "check": "the check with the checkout",
    "configure": "mailcow's generator",
    "settings": "the settings of mailcow.conf",
    "recheck": "the check with mailcow.conf",
    "pull": "the pull of the images",
    "start": "the start of the containers",
    "healthy": "the wait for healthy containers",
    "admin": "the password of the admin account",
    "relay": "the relay proof",
    "watch": "the hooks for updates",
}
# From this step on containers may exist.
FIRST_CONTAINERS = "start"

RUNNING, WAITING, BLOCKED, FAILED, DONE = "running", "waiting", "blocked", "failed", "done"


class Step(NamedTuple):
    """One step. `finished` is None while it runs, and for good where it was cut off or failed. Times: seconds since 1970."""

    name: str
    started: float
    finished: Optional[float] = None
    tries: int = 1


class Trouble(NamedTuple):
    """The last thing that went wrong, in our own words: what a foreign program said is in the log."""

    step: str
    message: str
    hint: str
    time: float


class Document(NamedTuple):
    """`state` is running, waiting (for the next try), blocked (the gate is shut), failed or done.

    `process` and `boot` say who wrote it: one whose process is gone was cut off. `generated` is whether the mailcow.conf that
    is there is one that our own run of the generator finished. `proven` maps 4 and 6 to what the relay proof gave.
    """

    directory: str
    version: int = VERSION
    state: str = RUNNING
    started: float = 0.0
    updated: float = 0.0
    process: int = 0
    boot: str = ""
    steps: tuple[Step, ...] = ()
    error: Optional[Trouble] = None
    next_try: Optional[float] = None
    release: str = ""
    generated: bool = False
    proven: Mapping[str, str] = {}

    def step(self, name: str) -> Optional[Step]:
        return next((step for step in self.steps if step.name == name), None)

    def finished(self, name: str) -> bool:
        step = self.step(name)
        return step is not None and step.finished is not None

    def begun(self, name: str) -> bool:
        return self.step(name) is not None

    @property
    def current(self) -> str:
        """The last step that began."""
        return self.steps[-1].name if self.steps else ""


def read(host: "Host") -> Optional[Document]:
    """The document, None where there is none. One that cannot be understood counts as one of an install that failed."""
    try:
        text = host.read_or_none(PATH)
        return None if text is None else parse(text)
    except OSError as error:
        return _broken(f"{PATH}: {error.strerror}")


def parse(text: str) -> Document:
    """The document in a text; never raises."""
    try:
        document: Document = codec.decode(Document, json.loads(text))
    except (ValueError, RecursionError):
        return _broken(f"{PATH} is damaged")
    return document


def _broken(message: str) -> Document:
    return Document("", state=FAILED, error=Trouble("", message, "`cowgate install` begins anew", 0.0))


def was_cut_off(host: "Host", document: Document) -> bool:
    """Whether the document says that an install is under way, and its process is gone."""
    if document.state not in (RUNNING, WAITING):
        return False
    return boot_of(host) != document.boot or not host.exists(f"/proc/{document.process}")


def boot_of(host: "Host") -> str:
    return (host.read_or_none(BOOT_ID) or "").strip()


class Record:
    """The document of the install that is under way, and the only one who writes it."""

    def __init__(self, host: "Host", directory: str, process: int) -> None:
        self.host = host
        now = host.now()
        before = read(host)
        if before is None or before.directory != directory:
            before = Document(directory, started=now)
        # What failed, and what was left for a next try, is told until the step that failed has ended well.
        self.document = before._replace(state=RUNNING, process=process, boot=boot_of(host), next_try=None)
        self._write()

    def _write(self) -> None:
        self.document = self.document._replace(updated=self.host.now())
        text = json.dumps(codec.encode(self.document), indent=2, sort_keys=True) + "\n"
        self.host.write_atomic(PATH, text.encode("ascii"), mode=0o644)

    def set(self, **changed: object) -> None:
        """Change fields of the document, on the disk before it returns."""
        self.document = self.document._replace(**changed)  # type: ignore[arg-type]  # the fields are checked by codec
        self._write()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step: it is on the disk that it began before the block runs, and that it ended afterwards. An error is noted."""
        before = self.document.step(name)
        step = Step(name, self.host.now(), tries=before.tries + 1 if before and before.finished is None else 1)
        others = tuple(old for old in self.document.steps if old.name != name)
        self.set(state=RUNNING, steps=(*others, step), next_try=None)
        try:
            yield
        except CowgateError as error:
            self.fail(name, error)
            raise
        ended = step._replace(finished=self.host.now())
        cleared = self.document.error is None or self.document.error.step == name
        self.set(steps=(*others, ended), error=None if cleared else self.document.error)

    def fail(self, name: str, error: CowgateError, state: str = FAILED) -> None:
        """Note what went wrong."""
        self.set(state=state, error=Trouble(name, error.message, error.hint, self.host.now()), next_try=None)

    def wait(self, name: str, error: CowgateError, seconds: float) -> None:
        """Note that `name` is tried again after a pause."""
        now = self.host.now()
        self.set(state=WAITING, error=Trouble(name, error.message, error.hint, now), next_try=now + seconds)
