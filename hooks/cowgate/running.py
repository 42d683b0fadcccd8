"""`cowgate run` and `cowgate undo`: the commands that change a machine."""

from __future__ import annotations

import os
import sys

from cowgate import cli
from cowgate.errors import EXIT_BLOCKED, EXIT_INTERNAL, EXIT_READY, CowgateError, PolicyError, UsageError
from cowgate.model import Phase
from cowgate.record import TYPE_CHECKING
from cowgate.state import StateDir

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cowgate.changes import Change
    from cowgate.engine import Evaluation, Failure, PlannedFix, RunResult
    from cowgate.gate import Decision
    from cowgate.host import Host
    from cowgate.journal import Journal
    from cowgate.model import Requirement
    from cowgate.policy import Policy
    from cowgate.report import Document, Published


def run_options(parser: cli.Parser) -> None:
    """The options of `cowgate run`."""
    cli.phase_option(parser, "boot", ("build", "early", "boot", "install"))
    cli.target_options(parser, replay=False)
    cli.selection_options(parser)
    cli.output_options(parser)
    cli.state_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--by-hand", action="store_true", help="fix things although mailcow is installed already")
    parser.add_argument("--strict", action="store_true", help="exit 4 when ready with warnings")


def run(args: cli.Arguments) -> int:
    """Look, fix, look again, publish, and open or shut the gate. Returns the exit code."""
    from cowgate import engine
    from cowgate.journal import Journal

    host = cli.host_of(args)
    phase = Phase(args.phase)
    policy = _policy(args, host, phase)
    requirements = cli.requirements_of(args)
    state = StateDir(os.path.abspath(args.state_dir))
    journal = Journal(host, state)
    work = _Run(args, host, policy, requirements, state, journal)
    if args.dry_run:
        return work.rehearse()
    if host.euid() != 0:
        raise UsageError("run changes the machine and needs root", hint="`cowgate check` looks without root")
    if not args.yes and sys.stdin.isatty() and sys.stderr.isatty() and phase is not Phase.EARLY:
        planned = engine.run(
            host, policy, phase, requirements, journal, dry_run=True, by_hand=args.by_hand, progress=cli.progress
        )
        if planned.planned and not _agreed(planned.planned):
            cli.progress("nothing was changed")
            return EXIT_READY if planned.evaluation.ready else EXIT_BLOCKED
    state.ensure(host)
    with state.lock(host):
        return work.perform()


def _policy(args: cli.Arguments, host: Host, phase: Phase) -> Policy:
    try:
        return cli.policy_of(args, host)
    except PolicyError as error:
        if phase is not Phase.EARLY:
            raise
        # Before the network there is nobody to mend it, and maybe no PyYAML. What is repaired then needs no policy.
        from cowgate.policy import Policy

        cli.progress(f"the policy is not used: {error.message}")
        return Policy()


class _Run:
    """One run, with everything it needs at hand."""

    def __init__(
        self,
        args: cli.Arguments,
        host: Host,
        policy: Policy,
        requirements: tuple[Requirement, ...],
        state: StateDir,
        journal: Journal,
    ) -> None:
        self.args = args
        self.host = host
        self.policy = policy
        self.requirements = requirements
        self.state = state
        self.journal = journal
        self.phase = Phase(args.phase)

    def engine(self, *, dry_run: bool) -> RunResult:
        from cowgate import engine

        return engine.run(
            self.host,
            self.policy,
            self.phase,
            self.requirements,
            self.journal,
            dry_run=dry_run,
            by_hand=self.args.by_hand,
            progress=cli.progress,
        )

    def rehearse(self) -> int:
        """Show the verdicts and what would be done about them."""
        result = self.engine(dry_run=True)
        document = self.document(result.evaluation, result)
        cli.show(self.args, document)
        told = plan_text(result.planned)
        if self.args.format == "text" and not self.args.output:
            cli.emit(cli.Arguments({}), "\n" + told)
        else:
            sys.stderr.write(told)
        return cli.exit_code(self.args, document)

    def perform(self) -> int:
        """The run itself, under the lock."""
        published_one = not cli.is_partial(self.args) and self.phase is not Phase.EARLY
        if published_one:
            self.journal.shut_gate()
        result = self.engine(dry_run=False)
        document = self.document(result.evaluation, result)
        if not published_one:
            self.show(document)
            return cli.exit_code(self.args, document)
        return self.publish(document, result.evaluation)

    def show(self, document: Document) -> None:
        """The report; before the network, and to the journal, one line per verdict."""
        journal = _to_journal()
        if (journal or self.phase is Phase.EARLY) and self.args.format == "text" and not self.args.output:
            from cowgate.render.text import lines

            cli.emit(self.args, lines(document, priorities=journal))
        else:
            cli.show(self.args, document)

    def document(self, evaluation: Evaluation, result: RunResult) -> Document:
        remarks = (*(failure_text(failure) for failure in result.failures), *result.notices)
        return cli.document_of(self.args, self.host, self.policy, evaluation, remarks=remarks)

    def publish(self, document: Document, evaluation: Evaluation) -> int:
        from cowgate import report

        try:
            published = report.publish(self.host, self.state, document)
            decision = self.decide(published, evaluation)
        except (CowgateError, OSError):
            self.show(document)  # the person who waits still learns what was found
            raise
        self.show(published.document)
        if self.phase is not Phase.BUILD:
            cli.progress(f"the gate is {'open' if decision.open else 'shut'}: {decision.sentence}")
            if not decision.open:
                return EXIT_BLOCKED
        return cli.exit_code(self.args, published.document)

    def decide(self, published: Published, evaluation: Evaluation) -> Decision:
        """Seal what may be sealed, and put the sign on Compose's door or take it away."""
        from cowgate import gate
        from cowgate.fixes import compose

        document = published.document
        if published.validated and document["ready"] and document["complete"] and document["phase"] in gate.PHASES:
            # Before the seal, because every change of the journal shuts the gate.
            self.change_compose(compose.unlock_changes(evaluation.facts, self.policy))
            try:
                decision = gate.seal(self.host, self.state, published.content)
            except (CowgateError, OSError):
                self.lock_compose(evaluation, taken_out=True)
                raise
            if not decision.open:
                self.lock_compose(evaluation, taken_out=True)
            return decision
        self.lock_compose(evaluation, taken_out=False)
        return gate.decide(self.state.path)

    def lock_compose(self, evaluation: Evaluation, *, taken_out: bool) -> None:
        from cowgate.fixes import compose

        if self.policy.fix.enabled:
            self.change_compose(compose.lock_changes(evaluation.facts, self.policy, taken_out=taken_out))

    def change_compose(self, changes: Iterable[Change]) -> None:
        # A lock that can not be placed or taken away is told and stops nothing: the wall is the gate.
        try:
            for change in changes:
                self.journal.perform("compose.lock", change, cli.progress)
        except CowgateError as error:
            cli.progress(f"docker-compose.override.yml: {error.message}")
        except OSError as error:
            cli.progress(f"docker-compose.override.yml: {error.strerror}")


def _to_journal() -> bool:
    """Whether standard output is systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        out = os.fstat(1)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{out.st_dev}:{out.st_ino}"


def failure_text(failure: Failure) -> str:
    """A fix that failed, as a note in the report."""
    hint = f" ({failure.hint})" if failure.hint else ""
    return f"the fix {failure.fix} failed: {failure.message}{hint}"


def plan_text(planned: Iterable[PlannedFix]) -> str:
    """What would be done, fix by fix, with diffs and commands."""
    lines = []
    for entry in planned:
        lines.append(f"{entry.fix.id}: {entry.fix.title}")
        for text in entry.texts:
            lines += [f"    {line}" for line in text.splitlines()]
        lines.append("")
    if not lines:
        return "Nothing would be changed.\n"
    return "What `cowgate run` would do:\n\n" + "\n".join(lines)


def _agreed(planned: Iterable[PlannedFix]) -> bool:
    sys.stderr.write(plan_text(planned) + "\nDo this? It can be taken back with `cowgate undo`. [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# -- undo ------------------------------------------------------------------------------------------------------------


def undo_options(parser: cli.Parser) -> None:
    """The options of `cowgate undo`."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="only this run; default: all")
    parser.add_argument("--list", action="store_true", help="show the runs and what each changed, and do nothing")
    parser.add_argument("--root", metavar="DIR", default="/", help="an offline tree instead of this machine")
    cli.state_option(parser)


def undo(args: cli.Arguments) -> int:
    """Put back what runs changed. Returns 0, or 1 when something could not be put back."""
    from cowgate import engine
    from cowgate.journal import Journal

    host = cli.host_of(args)
    state = StateDir(os.path.abspath(args.state_dir))
    journal = Journal(host, state)
    if args.list:
        cli.emit(args, _runs_text(journal))
        return EXIT_READY
    if host.euid() != 0:
        raise UsageError("undo changes the machine and needs root")
    state.ensure(host)
    with state.lock(host):
        result = engine.undo(host, journal, args.run, progress=cli.progress)
    for notice in result.notices:
        cli.progress(notice)
    for failure in result.failures:
        cli.progress(
            f"not put back: {failure.target or failure.fix}: {failure.message}"
            + (f" ({failure.hint})" if failure.hint else "")
        )
    changes = "1 change" if len(result.undone) == 1 else f"{len(result.undone)} changes"
    cli.progress(f"{changes} put back, {len(result.failures)} not; the gate is shut")
    return EXIT_INTERNAL if result.failures else EXIT_READY


def _runs_text(journal: Journal) -> str:
    from cowgate.report import iso

    lines = []
    for run in journal.runs():
        lines.append(f"run {run.id.lstrip('0') or '0'}  {iso(run.started)}  phase {run.phase}  cowgate {run.version}")
        lines += [f"    {entry.state:8} {entry.record.summary}" for entry in run.entries]
    return "\n".join(lines or ["nothing was changed so far"]) + "\n"
