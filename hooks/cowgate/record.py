"""dataclass, field, fields, is_dataclass and replace as `dataclasses` has them, and Word for str enumerations, as far as
cowgate uses them.

The standard ones compile code for every class, at every start. cowgate has some 130 such classes, and they made up a quarter
of what a complete check costs (tests/bench). Here one __init__ serves all classes. To type checkers these are the standard
ones, and the standard functions (fields, replace, asdict) take these classes too.

For the same reason what only type checkers need is imported under TYPE_CHECKING, from here: `typing`, `enum`, `re` and what
they import cost more than twice as much as starting Python.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, without its import
if TYPE_CHECKING:
    from dataclasses import MISSING as MISSING
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import is_dataclass as is_dataclass
    from dataclasses import replace as replace
    from enum import Enum

    class Word(str, Enum):
        """A closed set of words, as an enumeration whose members are strings."""
else:
    MISSING = object()

    class _Words(type):
        def __iter__(cls):
            return iter(cls.words.values())

    class Word(str, metaclass=_Words):
        """A closed set of words. Each member is the one instance with its value; calling the class with a value gives it."""

        def __init_subclass__(cls):
            cls.words = {value: str.__new__(cls, value) for name, value in vars(cls).items() if name.isupper()}
            for name, value in [(name, value) for name, value in vars(cls).items() if name.isupper()]:
                setattr(cls, name, cls.words[value])

        def __new__(cls, value):
            if value not in cls.words:
                raise ValueError(f"{value!r} is not a valid {cls.__name__}")
            return cls.words[value]

        @property
        def value(self):
            return str(self)

    class Field:
        """One field: its name, and what it is when it is not given."""

        __slots__ = ("default", "default_factory", "name")

        def __init__(self, name, default, default_factory):
            self.name = name
            self.default = default
            self.default_factory = default_factory

    def field(*, default=MISSING, default_factory=MISSING):
        """A default that is made anew for each instance."""
        return Field("", default, default_factory)

    def dataclass(cls=None, *, frozen=False):
        """Give a class __init__, __eq__ and __repr__ after its annotations; frozen ones also __hash__, and no assignment."""
        return _made(cls, frozen) if cls is not None else lambda cls: _made(cls, frozen)

    def fields(class_or_instance):
        """The fields, in their order."""
        return tuple(class_or_instance.__record__.values())

    def is_dataclass(value):
        """Whether this is such a class, or an instance of one."""
        return hasattr(value, "__record__")

    def replace(instance, **changes):
        """A copy with other values for some fields."""
        return type(instance)(**{**{name: getattr(instance, name) for name in instance.__record__}, **changes})

    def _made(cls, frozen):
        record = dict(getattr(cls, "__record__", {}))
        for name in cls.__annotations__:
            default = cls.__dict__.get(name, MISSING)
            if isinstance(default, Field):
                record[name] = Field(name, default.default, default.default_factory)
                delattr(cls, name)
            elif name not in record or default is not MISSING:
                record[name] = Field(name, default, MISSING)
        cls.__record__ = record
        cls.__dataclass_fields__ = _StandardFields()
        cls.__init__ = _init
        methods = {"__eq__": _eq, "__repr__": _repr, "__hash__": _hash if frozen else None}
        if frozen:
            methods.update(__setattr__=_setattr, __delattr__=_delattr)
        for name, method in methods.items():
            if name not in cls.__dict__:
                setattr(cls, name, method)
        return cls

    def _init(self, *args, **kwargs):
        record, values = self.__record__, self.__dict__
        values.update(zip(record, args))
        if len(args) > len(record):
            raise TypeError(f"{type(self).__name__} takes {len(record)} values, not {len(args)}")
        for name, value in kwargs.items():
            if name not in record or name in values:
                raise TypeError(f"{type(self).__name__} has no field {name!r}, or got it twice")
            values[name] = value
        if len(values) < len(record):
            for name, one in record.items():
                if name in values:
                    continue
                if one.default_factory is not MISSING:
                    values[name] = one.default_factory()
                elif one.default is not MISSING:
                    values[name] = one.default
                else:
                    raise TypeError(f"{type(self).__name__} needs a value for {name!r}")

    def _eq(self, other):
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(tuple(self.__dict__[name] for name in self.__record__))

    def _repr(self):
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__record__)})"

    def _setattr(self, name, value):  # noqa: ARG001 - as Python calls it
        raise AttributeError(f"cannot assign to field {name!r}")

    def _delattr(self, name):  # noqa: ARG001 - as Python calls it
        raise AttributeError(f"cannot delete field {name!r}")

    class _StandardFields:
        """What the functions of `dataclasses` look for, made when one of them does."""

        def __get__(self, instance, owner):
            import dataclasses as standard

            made = []
            for name, one in owner.__record__.items():
                if one.default_factory is not MISSING:
                    made.append((name, object, standard.field(default_factory=one.default_factory)))
                elif one.default is not MISSING:
                    made.append((name, object, standard.field(default=one.default)))
                else:
                    made.append((name, object))
            return standard.make_dataclass(owner.__name__, made).__dataclass_fields__
