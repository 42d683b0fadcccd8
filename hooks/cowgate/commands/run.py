"""`cowgate run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from cowgate.changes.journal import Journal
from cowgate.commands import common
from cowgate.engine import run as engine
from cowgate.engine.results import UNMET
from cowgate.errors import EXIT_BLOCKED, EXIT_READY, CowgateError, PolicyError, UsageError
from cowgate.gate import contract, rules
from cowgate.install import cutoff, drift, sentences
from cowgate.install import document as installing
from cowgate.machine.state import StateDir
from cowgate.model import Phase
from cowgate.policy.model import Policy
from cowgate.quoting import visible_lines
from cowgate.report import publication, sealing
from cowgate.report.render import closing
from cowgate.report.render.registry import demand
from cowgate.report.render.sorting import headline, sort
from cowgate.report.render.text import lines
from cowgate.requirements.mailcow import lock

if TYPE_CHECKING:
    from cowgate.changes.journal import Journal
    from cowgate.changes.values import Change
    from cowgate.engine.evaluate import Evaluation
    from cowgate.engine.results import PlannedFix, RunResult
    from cowgate.gate.contract import Decision
    from cowgate.machine.host import Host
    from cowgate.model import Requirement
    from cowgate.policy.model import Policy
    from cowgate.report.document import Document
    from cowgate.report.publication import Published

SUMMARY = "check, fix what can be fixed, check again, publish the report, open or shut the gate"
DETAILS = """\
Needs root. On a terminal it shows what it would do and asks. --dry-run shows it and changes nothing.
With --only, --skip, --root, --policy or --offline the published report and the seal stay as they are,
except that any change to the machine shuts the gate."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate run`."""
    common.phase_option(parser, "boot", ("build", "early", "boot", "install"))
    common.target_options(parser, replay=False)
    common.selection_options(parser)
    common.output_options(parser)
    common.detail_options(parser)
    common.state_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--by-hand", action="store_true", help="fix things although mailcow is installed already")
    parser.add_argument("--strict", action="store_true", help="exit 4 when ready with warnings")


def run(options: common.Options) -> int:
    """Look, fix, look again, publish, and open or shut the gate. Returns the exit code."""

    demand(options.format)
    host = common.host_of(options)
    phase = Phase(options.phase)
    policy = _policy(options, host, phase)
    requirements = common.requirements_of(options)
    state = StateDir(os.path.abspath(options.state_dir))
    journal = Journal(host, state)
    work = _Run(options, host, policy, requirements, state, journal)
    if options.dry_run:
        return work.rehearse()
    if host.euid() != 0:
        raise UsageError("run changes the machine and needs root", hint="`cowgate check` looks without root")
    if not options.yes and sys.stdin.isatty() and sys.stderr.isatty() and phase is not Phase.EARLY:
        planned = engine.run(
            host, policy, phase, requirements, journal, dry_run=True, by_hand=options.by_hand, progress=work.tell
        )
        if planned.planned and not work.agreed(planned):
            return EXIT_READY if planned.evaluation.ready else EXIT_BLOCKED
    state.ensure(host)
    with state.lock(host):
        return work.perform()


def _policy(options: common.Options, host: Host, phase: Phase) -> Policy:
    try:
        return common.policy_of(options, host)
    except PolicyError as error:
        if phase is not Phase.EARLY:
            raise
        # Before the network there is nobody to mend it, and maybe no PyYAML. What is repaired then needs no policy.

        common.progress(f"the policy is not used: {error.message}")
        return Policy()


class _Run:
    """One run, with everything it needs at hand."""

    def __init__(
        self,
        options: common.Options,
        host: Host,
        policy: Policy,
        requirements: tuple[Requirement, ...],
        state: StateDir,
        journal: Journal,
    ) -> None:
        self.options = options
        self.host = host
        self.policy = policy
        self.requirements = requirements
        self.state = state
        self.journal = journal
        self.phase = Phase(options.phase)
        self.tell = common.teller(options)

    def engine(self, *, dry_run: bool) -> RunResult:

        return engine.run(
            self.host,
            self.policy,
            self.phase,
            self.requirements,
            self.journal,
            dry_run=dry_run,
            by_hand=self.options.by_hand,
            progress=self.tell,
        )

    def rehearse(self) -> int:
        """Show the verdicts and what would be done about them."""
        result = self.engine(dry_run=True)
        document = self.document(result.evaluation, result)
        told = plan_text(result.planned)
        if self.options.format == "text" and not self.options.output:
            common.emit(common.Options(), told + "\n")
        else:
            sys.stderr.write(told)
        common.show(self.options, document, mailcow=common.has_mailcow(result.evaluation))  # it ends with what comes next
        return common.exit_code(self.options, document)

    def agreed(self, result: RunResult) -> bool:
        """Show the verdict, what would be changed and what would be left, and ask. After a no: what there is now."""
        document = self.document(result.evaluation, result)
        situation = common.situation_of(self.options, document, mailcow=common.has_mailcow(result.evaluation))._replace(
            run=False
        )
        verdict = common.folded(headline(document), "    ")
        sys.stderr.write(f"{verdict}\n\n{plan_text(result.planned)}{left_text(document)}\n{question(result.planned)} ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
        common.progress("nothing was changed")
        for line in closing.lines(document, situation):
            common.progress(line)
        return False

    def perform(self) -> int:
        """The run itself, under the lock."""
        published_one = not common.is_partial(self.options) and self.phase is not Phase.EARLY
        if published_one:
            self.journal.shut_gate()
            if self.host.live:
                cutoff.discard(self.host, self.policy.install_dir, self.tell)
        result = self.engine(dry_run=False)
        document = self.document(result.evaluation, result)
        if not published_one:
            self.show(document, result.evaluation)
            return common.exit_code(self.options, document)
        return self.publish(document, result.evaluation)

    def show(self, document: Document, evaluation: Evaluation, gate: Optional[Decision] = None) -> None:
        """The report; before the network, and to the journal, one line per verdict."""
        journal = _to_journal()
        if (journal or self.phase is Phase.EARLY) and self.options.format == "text" and not self.options.output:
            common.emit(self.options, lines(document, priorities=journal))
        else:
            common.show(self.options, document, mailcow=common.has_mailcow(evaluation), gate=gate)

    def document(self, evaluation: Evaluation, result: RunResult) -> Document:
        remarks = (*failure_notes(result), *result.notices, *install_notes(self.host))
        return common.document_of(self.options, self.host, self.policy, evaluation, remarks=remarks, result=result)

    def publish(self, document: Document, evaluation: Evaluation) -> int:

        try:
            published = publication.publish(self.host, self.state, document)
            decision = self.decide(published, evaluation)
        except (CowgateError, OSError):
            self.show(document, evaluation)  # the person who waits still learns what was found
            raise
        if self.phase is not Phase.BUILD:
            common.tell_gate(self.options, published.document, decision)
        self.show(published.document, evaluation, decision)
        if self.phase is not Phase.BUILD and not decision.open:
            return EXIT_BLOCKED
        return common.exit_code(self.options, published.document)

    def decide(self, published: Published, evaluation: Evaluation) -> Decision:
        """Seal what may be sealed, and put the sign on Compose's door or take it away."""

        document = published.document
        if published.validated and document["ready"] and document["complete"] and document["phase"] in contract.PHASES:
            # Before the seal, because every change of the journal shuts the gate.
            self.change_compose(lock.unlock_changes(evaluation.facts, self.policy))
            try:
                decision = sealing.seal(self.host, self.state, published.content, evaluation.conf)
            except (CowgateError, OSError):
                self.lock_compose(evaluation, taken_out=True)
                raise
            if not decision.open:
                self.lock_compose(evaluation, taken_out=True)
            return decision
        self.lock_compose(evaluation, taken_out=False)
        return rules.decide(self.state.path)

    def lock_compose(self, evaluation: Evaluation, *, taken_out: bool) -> None:

        if self.policy.fix.enabled:
            self.change_compose(lock.lock_changes(evaluation.facts, self.policy, taken_out=taken_out))

    def change_compose(self, changes: Iterable[Change]) -> None:
        # A lock that cannot be placed or taken away is told and stops nothing: the wall is the gate.
        try:
            for change in changes:
                self.journal.perform("compose.lock", change, self.tell)
        except CowgateError as error:
            common.progress(f"the lock for Compose: {error.message}")
        except OSError as error:
            common.progress(f"the lock for Compose: {error.strerror}")


def _to_journal() -> bool:
    """Whether standard output is systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        out = os.fstat(1)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{out.st_dev}:{out.st_ino}"


def install_notes(host: Host) -> tuple[str, ...]:
    """What the report says about an install that has not ended, and about a mailcow that is newer than we are."""
    told = installing.read(host) if host.live else None
    if told is None:
        return ()
    cut_off = installing.was_cut_off(host, told)
    under_way = told.state in (installing.RUNNING, installing.WAITING) and not cut_off
    line = "" if under_way else sentences.install_line(told, cut_off, host.now())
    newer = ", which is newer" if drift.beyond(told.release) else ""
    other = told.release not in ("", drift.TESTED)
    tested = f"tested with mailcow {drift.TESTED}; the checkout is {told.release}{newer}" if other else ""
    return tuple(note for note in (line, tested) if note)


def failure_notes(result: RunResult) -> tuple[str, ...]:
    """The fixes that failed, as notes in the report: none that its row tells already, and none that contradicts its row."""
    verdicts = {row.requirement.id: row.verdict for row in result.evaluation.rows}
    told = []
    for failure in result.failures:
        hint = f" ({failure.hint})" if failure.hint else ""
        verdict = verdicts.get(failure.fix)
        if verdict is None or verdict.status in UNMET:
            if verdict is None or failure.message not in verdict.diagnosis:
                told.append(f"the fix {failure.fix} failed: {failure.message}{hint}")
        else:
            told.append(f"{failure.fix} is met now, although a step of its fix failed: {failure.message}{hint}")
    return tuple(told)


def plan_text(planned: Iterable[PlannedFix]) -> str:
    """What would be done, fix by fix, with diffs and commands."""
    lines = []
    for entry in planned:
        lines.append(common.folded(f"{entry.fix.id}: {entry.fix.title}", "    "))
        for text in entry.texts:
            # What is ours to say is broken between words; diffs and commands stay as they are.
            told = [
                common.folded(f"    {line}", "    # ") if line.startswith("# ") else f"    {line}"
                for line in text.splitlines()
            ]
            lines += told
        lines.append("")
    if not lines:
        return "Nothing would be changed.\n"
    return "What `cowgate run` would do:\n\n" + visible_lines("\n".join(lines))


def question(planned: Iterable[PlannedFix]) -> str:
    """What is asked below a plan, with the truth about an undo."""
    stays = any("cannot be undone by cowgate" in text for entry in planned for text in entry.texts)
    but = ", except where it says otherwise" if stays else ""
    return common.folded(f"Do this? `cowgate undo` takes it back{but}. [y/N]", "    ")


def left_text(document: Document) -> str:
    """What no fix repairs, row by row."""
    rows = sort(document)
    left = [row for row in (*rows.blocked, *rows.warned) if row.get("repair") == "manual" and not row.get("cause")]
    told = "".join(common.folded(f"    {row['id']}: {row['diagnosis']}", "        ") + "\n" for row in left)
    return f"\nThis stays yours to do:\n{told}" if told else ""
