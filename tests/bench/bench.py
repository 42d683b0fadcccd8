"""What cowgate costs: CPU time (but for the programs that it asks) and peak memory, as ratios to `python3 -I -S -c pass`.

    python3 tests/bench/bench.py [--rounds 15] [--python /usr/bin/python3]

A benchmark and not a timed test: on a shared machine only medians and ratios mean something, so all commands run in turn,
round by round. The programs that a check asks (ip, nft, systemd-detect-virt and what else is there) are measured by
themselves and taken off; what pytest-testinfra asks is its work, and stays. No packet leaves: probes are off. As root the
open gate is measured too, on a sealed report of this machine. Where the interpreter has pytest-testinfra, it is asked for
30 of the same facts in the same run (thirty_facts.py): our whole check, asked programs and all, may cost half of that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
MAIN = str(TOP / "hooks/cowgate/__main__.py")
ASKED = str(Path(__file__).with_name("asked.py"))
PUBLISH = str(Path(__file__).with_name("publish.py"))
FACTS = str(Path(__file__).with_name("thirty_facts.py"))
TESTINFRA = "pytest-testinfra, 30 facts"
MEMORY_LIMIT = 64  # MiB
SHARE_OF_TESTINFRA = 0.5  # of its CPU, for the whole check

# name -> most times the cost of starting Python
LIMITS = {
    "gate, shut": 5.0,
    "gate, open": 5.0,
    "check, all rows": 25.0,
    "check, validated, published durably": 40.0,
}


# These ask programs of the machine.
ASKING = ("check, all rows", "check, validated, published durably", "facts")


def cost(argv: list[str]) -> tuple[float, float, int]:
    """CPU seconds of the process and its children, its peak memory in MiB, and its exit code."""
    null = os.open(os.devnull, os.O_RDWR)
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)])
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


def asked_programs(python: str, rounds: int) -> float:
    """CPU seconds of the programs that one check asks, the median."""
    argv = [python, "-I", ASKED, MAIN, "check", "--offline"]
    return statistics.median(
        float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1]) for _ in range(rounds)
    )


def commands(python: str, state: str) -> dict[str, list[str]]:
    """What is measured. The first is the unit of all others."""
    isolated = [python, "-I"]
    made = {
        "python3 -I -S -c pass": [python, "-I", "-S", "-c", "pass"],
        "gate, shut": [python, "-I", "-S", MAIN, "gate", "--state-dir", f"{state}/none"],
        "check, all rows": [*isolated, MAIN, "check", "--offline"],
        "import jsonschema, alone": [*isolated, "-c", "from jsonschema import Draft7Validator"],
        "check, validated, published durably": [*isolated, PUBLISH, f"{state}/published"],
        "facts": [*isolated, MAIN, "facts", "--offline"],
        "list": [*isolated, MAIN, "list"],
    }
    if subprocess.run([*isolated, "-c", "import testinfra, pytest"], capture_output=True).returncode == 0:
        made[TESTINFRA] = [*isolated, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, FACTS]
    if os.geteuid() == 0:
        made["gate, open"] = [python, "-I", "-S", MAIN, "gate", "--state-dir", f"{state}/open"]
    return made


def prepare(python: str, state: str) -> None:
    """Compile everything once, and publish and seal a report that opens the gate (as root)."""
    subprocess.run([python, "-I", "-m", "compileall", "-q", str(TOP / "hooks/cowgate")], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([python, "-I", PUBLISH, f"{state}/published"], check=False)
    if os.geteuid() == 0:
        subprocess.run([python, "-I", PUBLISH, f"{state}/open", "--sealed"], check=True)


def measure(made: dict[str, list[str]], rounds: int) -> dict[str, list[tuple[float, float, int]]]:
    results: dict[str, list[tuple[float, float, int]]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, argv in made.items():
            results[name].append(cost(argv))
    return results


def table(results: dict[str, list[tuple[float, float, int]]], asked: float) -> tuple[str, bool]:
    """The table as Markdown, and whether every limit was kept. `asked`: CPU seconds of the programs that a check asks."""
    unit = statistics.median(cpu for cpu, _, _ in next(iter(results.values())))
    lines = ["| command | CPU, median | ratio | limit | peak memory | exit code |", "|---|---|---|---|---|---|"]
    kept = True
    for name, runs in results.items():
        cpu, memory = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
        cpu -= asked if name in ASKING else 0.0
        limit = LIMITS.get(name)
        within = (limit is None or cpu / unit <= limit) and (memory <= MEMORY_LIMIT or name == TESTINFRA)
        kept = kept and within
        told = "" if limit is None else f"{limit:.0f} x"
        codes = ",".join(str(code) for code in sorted({run[2] for run in runs}))
        mark = "" if within else " (over)"
        lines.append(f"| {name} | {cpu * 1000:.1f} ms | {cpu / unit:.1f} x{mark} | {told} | {memory:.0f} MiB | {codes} |")
    if TESTINFRA in results:
        ours, theirs = (statistics.median(run[0] for run in results[name]) for name in ("check, all rows", TESTINFRA))
        kept = kept and ours <= SHARE_OF_TESTINFRA * theirs
        lines.append(f"\nThe whole check costs {ours / theirs:.2f} of pytest-testinfra's CPU (at most {SHARE_OF_TESTINFRA}).")
    lines.append(f"\nThe programs that a check asks cost {asked * 1000:.1f} ms more; they are taken off above.")
    return "\n".join(lines), kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with")
    args = parser.parse_args()
    # Below /run and not /tmp: the gate trusts no directory that others may write.
    with tempfile.TemporaryDirectory(prefix="cowgate-bench-", dir="/run" if os.geteuid() == 0 else None) as state:
        Path(state).chmod(0o755)
        prepare(args.python, state)
        results = measure(commands(args.python, state), args.rounds)
        told, kept = table(results, asked_programs(args.python, args.rounds))
    version = subprocess.run([args.python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}, {args.rounds} rounds, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n\n{told}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
