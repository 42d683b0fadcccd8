"""A sample of the mutants: each must be noticed by a test, or stand in survivors.txt. COWGATE_SEED takes another sample."""

from __future__ import annotations

import os
import random

from tests.mutation import mutants

SAMPLE = 12
JOBS = 2


def test_those_that_once_lived_and_a_sample_are_noticed() -> None:
    every = mutants.mutants()
    listed = mutants.listed()
    others = [mutant for mutant in every if mutant.key not in listed]
    sample = random.Random(int(os.environ.get("COWGATE_SEED", "1"))).sample(others, SAMPLE)
    chosen = list(dict.fromkeys([*mutants.named(every), *sample]))
    assert [mutant.key for mutant in mutants.alive(chosen, JOBS)] == []


def test_the_list_of_survivors_is_true() -> None:
    """Each entry is a mutant that can be made today, and has a reason."""
    listed = mutants.listed()
    assert set(listed) <= {mutant.key for mutant in mutants.mutants()}
    assert all(len(reason) > 10 for reason in listed.values())


def test_what_changes_nothing_is_not_noticed() -> None:
    """The runner itself: a mutant that is our own program lives."""
    (twin, *_) = (mutant for mutant in mutants.mutants() if mutant.file == "requirements/mailcow/conf.py")
    source = (mutants.ROOT / mutants.PACKAGE / twin.file).read_text()
    same = mutants.Mutant(twin.file, "nothing", source, ("tests/unit/requirements/test_cases.py",))
    assert mutants.alive([same], 1) == [same]
