"""cowgate.record behaves as the standard dataclasses do, and the standard functions take its classes."""

from __future__ import annotations

import copy
import dataclasses as standard
import subprocess
import sys
from pathlib import Path
from typing import Any, Generic, Optional, TypeVar

import pytest

from cowgate import record

T = TypeVar("T")


def classes(library: Any) -> tuple[type[Any], type[Any], type[Any]]:
    """A frozen class with every kind of field, one that inherits from it, and one that can be changed."""

    @library.dataclass(frozen=True)
    class Base(Generic[T]):
        a: int
        b: str = "b"
        c: Optional[T] = None
        d: dict[str, int] = library.field(default_factory=dict)

        @property
        def twice(self) -> int:
            return self.a * 2

    @library.dataclass(frozen=True)
    class Child(Base[int]):
        b: str = "other"
        e: tuple[int, ...] = ()

        def __repr__(self) -> str:
            return "child"

    @library.dataclass
    class Open:
        a: int
        b: list[int] = library.field(default_factory=list)

    return Base, Child, Open


BOTH = pytest.mark.parametrize("made", [classes(record), classes(standard)], ids=["record", "standard"])


@BOTH
def test_values_and_defaults(made: Any) -> None:
    base, child, changeable = made
    one = base(1, d={"x": 1})
    assert (one.a, one.b, one.c, one.d, one.twice) == (1, "b", None, {"x": 1}, 2)
    two = child(1, e=(2,))
    assert (two.a, two.b, two.c, two.d, two.e) == (1, "other", None, {}, (2,))
    assert changeable(1).b is not changeable(1).b
    assert base[int](a=3).a == 3


@BOTH
@pytest.mark.parametrize(
    "call", [lambda c: c(), lambda c: c(1, 2, 3, {}, 5), lambda c: c(1, a=1), lambda c: c(1, z=1), lambda c: c(b=1)]
)
def test_wrong_calls(made: Any, call: Any) -> None:
    with pytest.raises(TypeError):
        call(made[0])


@BOTH
def test_equality_hash_and_text(made: Any) -> None:
    base, child, changeable = made
    assert base(1) == base(1) != base(2)
    assert base(1) != child(1)
    assert base(1) != 1
    assert repr(base(1)).endswith("Base(a=1, b='b', c=None, d={})")
    assert repr(child(1)) == "child"
    with pytest.raises(TypeError):
        hash(base(1))  # the dict in it has none
    assert hash(base(1, d=())) == hash(base(1, d=()))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(changeable(1))


@BOTH
def test_frozen_or_not(made: Any) -> None:
    base, _, changeable = made
    one, two = base(1), changeable(1)
    with pytest.raises(AttributeError, match="cannot assign to field 'a'"):
        one.a = 2
    with pytest.raises(AttributeError, match="cannot delete field 'a'"):
        del one.a
    two.a = 2
    assert two == changeable(2)


@BOTH
def test_copies(made: Any) -> None:
    one = made[1](1, e=(1,))
    assert copy.copy(one) == copy.deepcopy(one) == one


@pytest.mark.parametrize("library", [record, standard])
def test_the_functions_take_our_classes(library: Any) -> None:
    """Ours and the standard ones."""
    base, child, _ = classes(record)
    assert [f.name for f in library.fields(base)] == ["a", "b", "c", "d"]
    assert [f.name for f in library.fields(child(1))] == ["a", "b", "c", "d", "e"]
    assert library.fields(base)[0].default is library.MISSING
    assert library.fields(base)[1].default == "b"
    assert library.fields(base)[3].default_factory is dict
    assert library.is_dataclass(base) and library.is_dataclass(base(1)) and not library.is_dataclass(1)
    assert library.replace(child(1), b="new") == child(1, b="new")
    with pytest.raises(TypeError):
        library.replace(child(1), z=1)


def test_the_standard_one_is_not_loaded() -> None:
    """A complete check does without it: that is what this is for."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(record.__file__).parents[1])!r});"
        "from cowgate.cli import commands; commands();"
        "from cowgate import engine; from cowgate.requirements import all_requirements; all_requirements();"
        "from cowgate.facts import SOURCES; import importlib;"
        "[importlib.import_module('cowgate.facts.' + s.partition(':')[0]) for s in SOURCES.values()];"
        "print(*{'dataclasses', 'inspect', 'jsonschema', 'yaml', 'ssl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
