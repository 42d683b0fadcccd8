"""Override files as people write them, made up at random: valid for Compose beside mailcow's file, in any style YAML knows.

Written without PyYAML and without cowgate, so that neither can agree with itself.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

MTU_KEY = "com.docker.network.driver.mtu"
NULLS = ("", "~", "null")
WORDS = (
    "unbound",
    "proxy",
    "front",
    "8.8.8.8",
    "a b",
    "it's",
    'say "x"',
    "# no comment",
    "yes",
    "1450",
    "üöä",
    "a: b",
    "x #y",
)


@dataclass
class Alias:
    """`*name`, or as the value of a merge key."""

    name: str


@dataclass
class Tagged:
    tag: str
    value: Any


@dataclass
class Anchored:
    name: str
    value: Any


@dataclass
class Raw:
    """A token as it stands in the file."""

    text: str


@dataclass
class Literal:
    """Lines of a block scalar."""

    lines: tuple[str, ...]
    head: str


@dataclass
class Sample:
    """`text` as it stands in the file; `token` is what stands for the MTU in it, if anything does."""

    text: str
    token: str = ""
    comments: int = 0


@dataclass
class Maker:
    """Makes one file out of a seed."""

    seed: int
    comments: int = 0
    token: str = ""
    anchors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.step = self.random.choice((1, 2, 2, 2, 3, 4))
        self.eol = self.random.choice(("\n", "\n", "\n", "\r\n"))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # -- what stands in it ---------------------------------------------------------------------------------------------

    def options(self) -> Any:
        pairs: list[tuple[str, Any]] = [
            (f"com.example.o{n}", self.random.choice(WORDS)) for n in range(self.random.randrange(3))
        ]
        if self.chance(0.4):
            tokens = ("1400", '"1400"', "'1400'", "${MTU:-1400}", "!!str 1400", '"1450"', "1450", "&mtu 1400", ">-\n 1400")
            self.token = self.random.choice(tokens)
            value: Any = Literal(("1400",), ">-") if "\n" in self.token else Raw(self.token)
            pairs.insert(self.random.randint(0, len(pairs)), (MTU_KEY, value))
        if self.anchors and self.chance(0.3):
            pairs.insert(0, ("<<", Alias("opts")))
        if not pairs:
            return self.random.choice((Raw(self.random.choice(NULLS)), {}))
        return Tagged("!override", dict(pairs)) if self.chance(0.1) else dict(pairs)

    def network(self) -> Any:
        pairs: list[tuple[str, Any]] = [("attachable", Raw("true"))] if self.chance(0.3) else []
        if self.chance(0.3):
            pairs.append(("labels", {"l": self.random.choice(WORDS)}))
        if self.chance(0.7):
            pairs.append(("driver_opts", self.options()))
        elif self.anchors and self.chance(0.3):
            pairs.append(("<<", Alias("net")))
        self.random.shuffle(pairs)
        return dict(pairs) if pairs else self.random.choice((Raw(self.random.choice(NULLS)), {}))

    def networks(self) -> Any:
        pairs: list[tuple[str, Any]] = []
        if self.chance(0.7):
            pairs.append(("mailcow-network", self.network()))
        if self.chance(0.4):
            pairs.append(("proxy", {"external": Raw("true")}))
        if self.chance(0.2):
            pairs.append(("back", self.random.choice((Raw(""), {"driver": "bridge", "driver_opts": {"a": "b"}}))))
        self.random.shuffle(pairs)
        return dict(pairs) if pairs else self.random.choice((Raw(self.random.choice(NULLS)), {}))

    def service(self) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        if self.chance(0.5):
            pairs.append(("environment", {"A": self.random.choice(WORDS), "B": Raw("${B:-x}")}))
        if self.chance(0.4):
            pairs.append(("dns", [self.random.choice(("192.0.2.1", "2001:db8::1")) for _ in range(self.random.randint(1, 2))]))
        if self.chance(0.3):
            pairs.append(("labels", [self.random.choice(WORDS)]))
        pairs.append(("hostname", "h"))
        if self.anchors and self.chance(0.3):
            pairs.append(("<<", Alias("svc")))
        self.random.shuffle(pairs)
        return dict(pairs)

    def top(self) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        if self.chance(0.6):
            services: dict[str, Any] = {"unbound-mailcow": self.service()}
            if self.chance(0.4):
                services["extra"] = {"image": "lab/busybox", **self.service()}
            pairs.append(("services", services))
        if self.chance(0.6):
            pairs.append(("networks", self.networks()))
        if self.chance(0.2):
            pairs.append(("volumes", {"extra-vol": Raw("")}))
        if self.chance(0.3):
            pairs.append(("x-note", self.note()))
        self.random.shuffle(pairs)
        return dict(pairs)

    def note(self) -> Any:
        if self.chance(0.4):
            heads = ("|", "|-", "|+", ">", ">-", "|\n")
            return Literal(
                ("one", "", "  two # no comment", "x: y")[: self.random.randint(1, 4)], self.random.choice(heads).strip()
            )
        return self.random.choice((list(WORDS[:3]), {"a": list(WORDS[2:5]), "b": {}}, Raw("12:30:45"), Raw("2024-01-01"), []))

    # -- how it is written ---------------------------------------------------------------------------------------------

    def comment(self) -> str:
        self.comments += 1
        return f"# c{self.comments} mtu: 1 {self.random.choice(('', 'networks:', chr(9), '{', chr(34)))}"

    def tail(self) -> str:
        """What stands behind a value on its line."""
        if self.chance(0.12):
            return self.random.choice((" ", "  ", "\t")) + self.comment()
        return "  " if self.chance(0.04) else ""

    def scalar(self, value: Any, flow: bool) -> str:
        if isinstance(value, Raw):
            return value.text
        plain = value.replace(".", "").replace("-", "").isalnum() and not value[0].isdigit() and value not in ("yes",)
        if plain and self.chance(0.6):
            return str(value)
        if self.chance(0.5):
            return "'" + value.replace("'", "''") + "'"
        return json.dumps(value, ensure_ascii=flow)

    def key(self, name: str) -> str:
        if name == "<<":
            return name
        return self.random.choice((name, name, name, name, f"'{name}'", f'"{name}"'))

    def flow(self, value: Any) -> str:
        space = self.random.choice(("", " "))
        if isinstance(value, (Tagged, Anchored)):
            mark = value.tag if isinstance(value, Tagged) else f"&{value.name}"
            return f"{mark} {self.flow(value.value)}"
        if isinstance(value, Alias):
            return f"*{value.name}"
        if isinstance(value, dict):
            inner = ", ".join(f"{self.key(k)}: {self.flow(v)}".rstrip() for k, v in value.items())
            comma = "," if inner and self.chance(0.1) else ""
            return f"{{{space}{inner}{comma}{space}}}"
        if isinstance(value, list):
            return f"[{space}{', '.join(self.flow(item) for item in value)}{space}]"
        if isinstance(value, Literal):
            return '"1400"' if value.lines == ("1400",) else '"x"'
        if isinstance(value, Raw) and ("{" in value.text or not value.text):
            return json.dumps(value.text) if value.text else "null"
        return self.scalar(value, True)

    def block(self, mapping: dict[str, Any], indent: int) -> list[str]:
        lines: list[str] = []
        for name, value in mapping.items():
            if self.chance(0.06):
                lines.append("")
            if self.chance(0.08):
                lines.append(" " * self.random.choice((0, indent, indent + 2)) + self.comment())
            lines += self.pair(self.key(name), value, indent)
        return lines

    def pair(self, key: str, value: Any, indent: int) -> list[str]:
        head = f"{' ' * indent}{key}:"
        while isinstance(value, (Tagged, Anchored)):
            head += f" {value.tag}" if isinstance(value, Tagged) else f" &{value.name}"
            value = value.value
        if isinstance(value, Literal):
            step = indent + self.step
            return [f"{head} {value.head}{self.tail()}", *(" " * step + line if line else "" for line in value.lines)]
        if isinstance(value, dict) and value and self.chance(0.8):
            step = self.random.choice((self.step, self.step, self.step, 2, 5))
            return [head + self.tail(), *self.block(value, indent + step)]
        if isinstance(value, list) and value and self.chance(0.6):
            step = indent + self.random.choice((0, self.step))
            return [head + self.tail(), *(f"{' ' * step}- {self.flow(item)}{self.tail()}" for item in value)]
        if isinstance(value, (dict, list, Alias)):
            return [f"{head} {self.flow(value)}{self.tail()}"]
        return [f"{head} {self.scalar(value, False)}".rstrip() + self.tail()]

    def make(self) -> Sample:
        shape = self.random.random()
        if shape < 0.03:
            return Sample(self.random.choice(("", "\n", "# only\n", "# only", "\ufeff", "\n\n# x\n  \n")))
        if self.chance(0.25):
            self.anchors = ["opts", "net", "svc"]
        top = self.top()
        if self.anchors:
            shared = {"com.example.shared": "s"}
            top = {
                "x-opts": Anchored("opts", shared),
                "x-net": Anchored("net", {"driver_opts": {"com.example.net": "n"}}),
                "x-svc": Anchored("svc", {"restart": "always"}),
                **top,
            }
        if not top:
            top = {"x-note": self.note()}
        if shape < 0.10:
            return self.finish(json.dumps(self.plain(top), indent=self.random.choice((None, 2, 4))).split("\n"))
        if shape < 0.15:
            return self.finish([self.flow(top)])
        indent = 3 if self.chance(0.04) else 0
        lines = self.block(top, indent)
        if self.chance(0.15):
            lines.insert(0, self.random.choice(("---", "--- # doc", "%YAML 1.1\n---")))
            if self.chance(0.3):
                lines.append("...")
                lines.append("# after")
        elif self.chance(0.2):
            lines.insert(0, self.comment())
        return self.finish(lines)

    def plain(self, value: Any) -> Any:
        """What JSON can say of it."""
        if isinstance(value, dict):
            return {k: self.plain(v) for k, v in value.items() if k != "<<"}
        if isinstance(value, list):
            return [self.plain(v) for v in value]
        if isinstance(value, (Tagged, Anchored)):
            return self.plain(value.value)
        if isinstance(value, Literal):
            return "\n".join(value.lines)
        if isinstance(value, Raw):
            if value.text in NULLS:
                return None
            return True if value.text == "true" else value.text.replace('"', "").replace("'", "").split(" ")[-1]
        return value

    def finish(self, lines: list[str]) -> Sample:
        text = "\n".join(lines)
        if self.chance(0.8):
            text += "\n" * self.random.choice((1, 1, 1, 2, 3))
        if self.chance(0.05):
            text = "\ufeff" + text
        return Sample(text.replace("\n", self.eol), self.token.replace("\n", self.eol), self.comments)
