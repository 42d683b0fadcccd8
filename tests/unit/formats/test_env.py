"""mailcow.conf: what Compose and the shell read of it, and one value changed with every other byte kept."""

from __future__ import annotations

import subprocess
import time

import pytest

from cowgate.formats import env
from cowgate.formats.editors import edit
from cowgate.formats.error import FormatError

READ = [
    ("A=b", "b"),
    ("A=b # why", "b"),
    ("A=b#c", "b#c"),
    ("A=#x", "#x"),
    ("A=", ""),
    ('A="b"\t# why', "b"),
    ("A=   ", ""),
    ("A='x y' # why", "x y"),
    ('A="x y"', "x y"),
    ("export A=b", "b"),
    ("  A=b", "b"),
    ("A=b\nA=c", "c"),
    ("A=[2001:db8::1]:25", "[2001:db8::1]:25"),
]

PROBLEMS = [
    ("A", "is neither KEY=value nor a comment", True),
    ("A: b", "is neither KEY=value nor a comment", True),
    ("A = b", "has a space beside the equals sign", True),
    ("A= b", "has a space beside the equals sign", True),
    ("A='b", "opens a quote that is not closed", True),
    ("A='b'c", "goes on behind the closing quote", True),
    ("A=b c", "has a space or a character that the shell acts on", True),
    ("A=(b)", "has a space or a character that the shell acts on", True),
    ("A=b'c", "has a space or a character that the shell acts on", True),
    # what Compose 2.26 and 2.40 make of these: "# why", "8080\\t# behind", and "b \\t# c"
    ("A= # why", "has a # that Compose reads as part of the value", True),
    ("A=8080\t# behind", "has a # that Compose reads as part of the value", True),
    ("A=b \t# c", "has a # that Compose reads as part of the value", True),
    ("A=b\r\nB=c\r\n", "lines end with CR LF", True),
    ("A=$b", "holds a $", False),
    ('A="$b"', "holds a $", False),
    ("A=1\nA=2", "is set on line 1 too; the last one counts", False),
]


@pytest.mark.parametrize(("text", "value"), READ)
def test_values_are_those_that_the_shell_reads(text: str, value: str) -> None:
    entries, problems = env.parse(text)
    assert entries[-1].value == value
    assert not [p for p in problems if p.breaks]
    shell = subprocess.run(["sh", "-c", f'{text}\nprintf %s "$A"'], capture_output=True, text=True, check=True, timeout=10)
    assert shell.stdout == value


@pytest.mark.parametrize(("text", "says", "breaks"), PROBLEMS)
def test_problems(text: str, says: str, breaks: bool) -> None:
    (problem,) = env.parse(text)[1]
    assert says in problem.text and problem.breaks is breaks
    assert problem.line == (2 if "A=2" in text else 1)


def test_single_quotes_keep_a_dollar() -> None:
    assert env.parse("A='$b'")[1] == ()


@pytest.mark.parametrize("text", ["B=1\nA=${B}:25", 'B=1\nA="$B:25"', "A=${B:-1}:25", "B=\nA=${B-1}${B:-1}:25"])
def test_variables_that_are_set_above_are_filled_in(text: str) -> None:
    entries, problems = env.parse(text)
    assert problems == ()
    shell = subprocess.run(["sh", "-c", f'{text}\nprintf %s "$A"'], capture_output=True, text=True, check=True, timeout=10)
    assert env.values(entries)["A"] == shell.stdout == "1:25"


def test_a_dollar_in_single_quotes_is_no_variable() -> None:
    assert env.values(env.parse("B=1\nA='$B'")[0])["A"] == "$B"


def test_many_lines_are_read_in_linear_time() -> None:
    """Each line used to be compared with all before it: 20,000 took half a minute of CPU."""
    start = time.process_time()
    entries, _ = env.parse("".join(f"KEY_{number}=x\r\n" for number in range(20_000)))
    assert len(entries) == 20_000 and time.process_time() - start < 5


def test_empty_lines_and_comments_are_nothing() -> None:
    assert env.parse("\n  \n# A=b\n\t# c\n") == ((), ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\n", "A=2\n"),
        ("# x\nA=1 # why\nB=3", "# x\nA=2 # why\nB=3"),
        ("A='1'\r\nB=3\r\n", "A=2\r\nB=3\r\n"),
        ('export A="1"\n', "export A=2\n"),
        ("A=\n", "A=2\n"),
        ("A=0\nA=1\n", "A=0\nA=2\n"),
        ("A=2\n", "A=2\n"),
        ("A='2'\n", "A='2'\n"),
        ("B=1\n", "B=1\nA=2\n"),
        ("B=1", "B=1\nA=2\n"),
        ("B=1\r\n# A=1", "B=1\r\n# A=1\r\nA=2\r\n"),
        ("", "A=2\n"),
    ],
)
def test_a_value_is_set(before: str, after: str) -> None:
    assert env.set_value(before, "A", "2") == after
    assert edit("env.set", after, {"key": "A", "value": "2"}) == after


@pytest.mark.parametrize(
    ("text", "value", "says"),
    [
        (None, "2", "generate_config.sh writes it"),
        ("A=1\n", "a b", "a character that Compose or the shell would act on"),
        ("A=1\n", "$x", "a character that Compose or the shell would act on"),
        ("A='1\n", "2", "line 1: A opens a quote"),
        ("A = 1\n", "2", "line 1: A has a space"),
    ],
)
def test_a_value_is_not_set(text: str | None, value: str, says: str) -> None:
    with pytest.raises(FormatError, match=says.replace("$", r"\$")):
        env.set_value(text, "A", value)
