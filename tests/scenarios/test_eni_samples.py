"""Files that were collected from real servers and made with nine versions of cloud-init, where they lie beside the checkout.

Their like, written for this repository, is tested in tests/unit/formats; this compares the decision on the originals.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.formats.interfaces import find_aliases, keep_names, repair_alias

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SAMPLES = next(iter(sorted(CHECKOUT.parent.glob("*/samples/eni"))), None)

# What must be done with a file whose path starts so: the alias to rename, and how many lines the change removes and adds.
# "" is leave it alone, None is not a file of interfaces(5).
ACTIONS: dict[str, tuple[str | None, int, int]] = {
    "SOURCES.txt": (None, 0, 0),
    "generated/hetzner_md_2018.yaml": (None, 0, 0),
    "generated/hetzner_md_2022.yaml": (None, 0, 0),
    "generated/out_hetzner_md_2018_ci-": ("eth0:0", 2, 1),
    "generated/out_hetzner_md_2022_ci-0.7.9": ("eth0:1", 3, 1),
    "generated/out_hetzner_md_2022_ci-1": ("", 0, 0),
    "generated/out_hetzner_md_2022_ci-2": ("", 0, 0),
    "real/01-": ("eth0:0", 2, 2),
    "real/02-": ("", 0, 0),
    "real/03-": ("", 0, 0),
    "real/04-": ("", 0, 0),
    "real/05-": ("", 0, 0),
    "real/06-": ("", 0, 0),
    "real/07-": ("", 0, 0),
    "real/08-": ("", 0, 0),
    "real/09-": ("", 0, 0),
    "real/10-": ("", 0, 0),
    "real/11-": ("", 0, 0),
    "real/12-": ("", 0, 0),
    "real/13-": ("", 0, 0),
    "real/14-": ("", 0, 0),
    "real/15-": ("", 0, 0),
    "real/16-": ("", 0, 0),
    "real/17-": ("", 0, 0),
    "real/18-": ("", 0, 0),
    "real/19-": ("eth0:0", 2, 1),
    "real/20-": ("", 0, 0),
    "real/21-": ("", 0, 0),
    "real/22-": ("", 0, 0),
}


@pytest.mark.skipif(SAMPLES is None, reason="the collected files do not lie beside the checkout")
def test_every_sample() -> None:
    assert SAMPLES is not None
    used = set()
    wrong = []
    for path in sorted(path for path in SAMPLES.rglob("*") if path.is_file()):
        name = path.relative_to(SAMPLES).as_posix()
        (key,) = [key for key in ACTIONS if name.startswith(key)]
        used.add(key)
        if ACTIONS[key][0] is None:
            continue
        done = outcome(path.read_bytes().decode())
        print(f"{name}: {done}")
        wrong += [f"{name}: {done}, not {ACTIONS[key]}"] if done != ACTIONS[key] else []
    assert not wrong
    assert used == set(ACTIONS)


def outcome(text: str) -> tuple[str, int, int]:
    """What the repair does with a text: the alias that it renames, lines gone, lines new."""
    aliases = [alias.name for alias in find_aliases({"file": text}) if alias.repair]
    after = repair_alias(text, aliases, keep_names({"file": text}, aliases))
    assert after is not None
    assert repair_alias(after, aliases) == after
    old, new = text.splitlines(keepends=True), after.splitlines(keepends=True)
    gone, fresh = lost(old, new), lost(new, old)
    for alias in aliases:
        assert f"{alias} inet6" not in after
        assert fresh[-1].split()[:3] == ["iface", alias.partition(":")[0], "inet6"]
    return " ".join(aliases), len(gone), len(fresh)


def lost(old: list[str], new: list[str]) -> list[str]:
    """The lines that are in the old text more often than in the new one."""
    left = list(new)
    gone = []
    for line in old:
        if line in left:
            left.remove(line)
        else:
            gone.append(line)
    return gone
