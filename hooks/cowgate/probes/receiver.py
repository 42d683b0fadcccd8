"""SPF as a receiver evaluates it, by the library pyspf (package python3-spf) over the machine's own resolvers; and the domain
at which a registry registers names, by the public suffix list. Both libraries are optional: without them nothing is said."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Optional

from cowgate.probes.text import plain
from cowgate.probes.values import SpfResult

SECONDS = 4  # for one evaluation with all its questions

# (name, type) -> values in presentation form; None where nobody answered
Ask = Callable[[str, str], Optional[Sequence[str]]]


def spf_library(ask: Ask) -> Any:
    """pyspf, set to ask by `ask`; None where it is not installed."""
    try:
        library: Any = importlib.import_module("spf")
    except Exception:  # an old one may stumble over a new dnspython, with exceptions of many kinds
        return None

    def look_up(name: str, kind: str, *_: Any, **__: Any) -> list[tuple[tuple[str, str], Any]]:
        values = ask(name, kind)
        if values is None:
            raise library.TempError("no answer")
        return [((name, kind), _as_pyspf(value, kind)) for value in values]

    library.DNSLookup = look_up  # its own seam: its test suite sets the same name
    return library


def _as_pyspf(value: str, kind: str) -> Any:
    if kind == "MX":
        preference, _, exchange = value.partition(" ")
        return int(preference), exchange.rstrip(".")
    return (value.encode(),) if kind == "TXT" else value.rstrip(".")


def evaluate(library: Any, domain: str, address: str, helo: str) -> SpfResult:
    """What a receiver concludes for mail from this domain and address."""
    try:
        query = library.query(i=address, s=f"postmaster@{domain}", h=helo, timeout=2, querytime=SECONDS)
        result, _, explanation = query.check()
    except Exception as error:  # what comes from the network may make it raise more than its own exceptions
        return SpfResult(domain, address, "temperror", plain(f"{type(error).__name__}: {error}"))
    return SpfResult(domain, address, str(result), plain(str(explanation)))


def registered(domain: str) -> str:
    """The domain that was registered, one label below a public suffix: the organisational domain of RFC 7489 §3.2. "" where
    no library knows the list."""
    for module, name, method in (
        ("publicsuffixlist", "PublicSuffixList", "privatesuffix"),
        ("publicsuffix2", "PublicSuffixList", "get_sld"),
    ):
        try:
            found = getattr(getattr(importlib.import_module(module), name)(), method)(domain)
        except Exception:  # not installed, or its list cannot be read
            continue
        return str(found or "")
    return ""
