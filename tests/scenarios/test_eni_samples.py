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


def files() -> list[Path]:
    return sorted(path for path in SAMPLES.rglob("*") if path.is_file()) if SAMPLES is not None else []


def action(name: str) -> tuple[str | None, int, int]:
    (found,) = [value for key, value in ACTIONS.items() if name.startswith(key)]
    return found


@pytest.mark.skipif(SAMPLES is None, reason="no collection of samples beside the checkout")
def test_every_rule_has_a_file() -> None:
    assert SAMPLES is not None
    names = [path.relative_to(SAMPLES).as_posix() for path in files()]
    assert [key for key in ACTIONS if not any(name.startswith(key) for name in names)] == []


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_sample(path: Path) -> None:
    assert SAMPLES is not None
    name = path.relative_to(SAMPLES).as_posix()
    wanted, removed, added = action(name)
    if wanted is None:
        return
    text = path.read_bytes().decode()
    aliases = [alias.name for alias in find_aliases({name: text}) if alias.repair]
    assert aliases == ([wanted] if wanted else [])
    after = repair_alias(text, aliases, keep_names({name: text}, aliases))
    assert after is not None
    old, new = text.splitlines(keepends=True), after.splitlines(keepends=True)
    assert len(lost(old, new)) == removed
    assert len(lost(new, old)) == added
    if wanted:
        assert f"{wanted} inet6" not in after
        assert lost(new, old)[-1].split()[:3] == ["iface", wanted.partition(":")[0], "inet6"]
    assert repair_alias(after, aliases) == after


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
