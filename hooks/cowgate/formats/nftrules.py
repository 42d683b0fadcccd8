"""The rules that nftables holds, out of `nft --json --terse list ruleset`, in the form of formats.packetfilter.

What cannot be told of a condition is kept as one that is not known. One rule becomes several where it holds a map, or a set of
concatenations: one for each element.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Optional

from cowgate.formats.error import FormatError
from cowgate.formats.packetfilter import ADDRESS_CHANGES, Chain, Match, Rule

MAX_ELEMENTS = 64  # of a set that stands in a rule: of a longer one only the first are compared, but for ports
MAX_WAYS = 256  # rules that one becomes
MAX_SETS = 32  # sets with a name whose elements are asked for
PORTS = "inet_service"
# Types whose sets with ports have few elements; with addresses they are block lists of thousands.
SMALL_TYPES = (PORTS, "inet_proto", "ifname", "iface_index", "ct_state", "ct_dir", "mark")

Way = tuple[Match, ...]  # conditions that hold together
UNKNOWN: tuple[Way, ...] = ((Match(""),),)
Key = tuple[str, str, str]  # family, table, name


class NamedSet(NamedTuple):
    """A set, or a map, with a name."""

    kind: str
    family: str
    table: str
    name: str


def named_sets(text: str) -> tuple[NamedSet, ...]:
    """The sets and maps of ports, of which --terse shows no elements. Not those that packets fill: they change all the time.
    Raises FormatError where the text is none of nft."""
    if f'"{PORTS}"' not in text:
        return ()
    try:
        found = []
        for entry in json.loads(text)["nftables"]:
            kind = next((kind for kind in ("set", "map") if kind in entry), "")
            one = entry.get(kind) or {}
            types = one.get("type")
            types = [types] if isinstance(types, str) else types or []
            if PORTS in types and set(types) <= set(SMALL_TYPES) and "dynamic" not in str(one.get("flags")):
                found.append(NamedSet(kind, one["family"], one["table"], one["name"]))
        return tuple(found[:MAX_SETS])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise FormatError("nft gave no list of rules") from None


def parse_elements(text: str) -> list[Any]:
    """The elements of `nft --json list set`, as they stand in a rule. Raises FormatError where the text is none."""
    try:
        (one,) = [entry.get("set") or entry["map"] for entry in json.loads(text)["nftables"] if "metainfo" not in entry]
        return list(one.get("elem", ()))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise FormatError("nft gave no set") from None


def parse_nft(text: str, elements: Optional[Mapping[Key, list[Any]]] = None) -> tuple[Chain, ...]:
    """The chains of `nft --json --terse list ruleset`; `elements` are those of named sets, by family, table and name. Raises
    FormatError where the text is none."""
    known = elements or {}
    try:
        entries: list[dict[str, Any]] = json.loads(text)["nftables"]
        chains = [entry["chain"] for entry in entries if "chain" in entry]
        rules: dict[Key, list[Rule]] = {}
        for entry in entries:
            if "rule" in entry:
                rule = entry["rule"]
                key = (rule["family"], rule["table"], rule["chain"])
                parts = _filled(rule.get("expr") or [], key, known) if known else rule.get("expr") or []
                rules.setdefault(key, []).extend(_rules(parts, int(rule.get("handle", 0))))
        return tuple(_chain(chain, rules) for chain in chains)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise FormatError("nft gave no list of rules") from None


def _chain(chain: dict[str, Any], rules: dict[Key, list[Rule]]) -> Chain:
    key = (chain["family"], chain["table"], chain["name"])
    device = chain.get("dev", "")
    return Chain(
        "nft",
        *key,
        hook=chain.get("hook", ""),
        kind=chain.get("type", ""),
        priority=int(chain.get("prio", 0)),
        policy=chain.get("policy", "accept"),
        device=device if isinstance(device, str) else ",".join(device),
        rules=tuple(rules.get(key, ())),
    )


def _filled(node: Any, place: Key, known: Mapping[Key, list[Any]]) -> Any:
    """The same expressions with the elements of a named set in its place."""
    if isinstance(node, list):
        return [_filled(part, place, known) for part in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        name = value[1:] if key in ("right", "data") and isinstance(value, str) and value.startswith("@") else ""
        elements = known.get((*place[:2], name)) if name else None
        found[key] = _filled(value, place, known) if elements is None else {"set": elements, "name": value}
    return found


# -- rules -------------------------------------------------------------------------------------------------------------

# Statements that are no conditions.
_SIDE_EFFECTS = (
    "counter", "log", "mangle", "flow", "queue", "last", "dup", "ct helper", "ct timeout", "ct expectation", "secmark",
    "synproxy", "reset",
)  # fmt: skip


def _rules(parts: Iterable[Any], handle: int) -> Iterator[Rule]:
    """One rule, or one for each element where it holds a map."""
    ways: tuple[Way, ...] = ((),)
    shown: list[str] = []
    for part in parts:
        if isinstance(part, str):  # nft writes a chain without a name as text
            yield from _unnamed(part, ways, shown, handle)
            continue
        ((name, content),) = part.items()
        if name == "vmap":
            yield from _vmap(content, ways, shown, handle)
            continue
        verdict, target = _verdict(name, content)
        if verdict:
            text = " ".join((*shown, _shown(name, content)))
            for more, where in _targets(content) if verdict in ADDRESS_CHANGES else (((), target),):
                yield from (Rule(text, verdict, where, (*way, *more), handle) for way in ways)
            if verdict not in ("mark", "notrack"):
                return
            shown.append(_shown(name, content))
        elif name not in _SIDE_EFFECTS:
            ways = _both(ways, _conditions(name, content))
            shown.append(_shown(name, content))
    yield Rule(" ".join(shown), "", "", ways[0], handle)


def _both(ways: tuple[Way, ...], more: tuple[Way, ...]) -> tuple[Way, ...]:
    """Every way that takes one of each."""
    if len(ways) * len(more) > MAX_WAYS:
        more = UNKNOWN
    return tuple((*way, *added) for way in ways for added in more)


def _unnamed(text: str, ways: tuple[Way, ...], shown: list[str], handle: int) -> Iterator[Rule]:
    """`jump { ... }`: what is in it is known by its words alone."""
    words = text.split()
    verdict = next((word for word in ("drop", "reject", "accept") if word in words), "")
    quoted = " ".join((*shown, *words))
    yield from (Rule(quoted, verdict, "", (*way, Match("")), handle) for way in ways)


def _vmap(content: dict[str, Any], ways: tuple[Way, ...], shown: list[str], handle: int) -> Iterator[Rule]:
    data = content.get("data")
    elements = data.get("set") if isinstance(data, dict) else None
    if not isinstance(elements, list):  # a map with a name: with --terse nobody tells what is in it
        text = " ".join((*shown, f"{_called(content['key'])} vmap {data}"))
        yield from (Rule(text, "drop", "", (*way, Match("")), handle) for way in ways)
        return
    for key, verdicts in elements:
        ((name, target),) = verdicts.items()
        verdict, chain = _verdict(name, target)
        compared = {"left": content["key"], "right": key}
        text = " ".join((*shown, _shown("match", compared), _shown(name, target)))
        for way in _both(ways, _of_element(content["key"], key)):
            yield Rule(text, verdict, chain, way, handle)


def _of_element(left: Any, key: Any) -> tuple[Way, ...]:
    return ((),) if key == "*" else _compared("==", left, key)


def _targets(content: Any) -> Iterable[tuple[Way, str]]:
    """Where a translation leads, with what that depends on."""
    address, port = (content.get("addr"), content.get("port")) if isinstance(content, dict) else (None, None)
    mapped = next((part["map"] for part in (address, port) if isinstance(part, dict) and "map" in part), None)
    if mapped is None:
        return (((), _address(content)),)
    data = mapped.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("set"), list):
        return (((Match(""),), str(data)),)
    colon = "" if isinstance(address, dict) else ":"  # a map of ports alone
    return [
        (way, colon + _value(value).replace(" . ", ":"))
        for key, value in data["set"]
        for way in _of_element(mapped["key"], key)
    ]


def _verdict(name: str, content: Any) -> tuple[str, str]:
    """The verdict that an expression is, with its target; "" for one that is none."""
    if name in ("accept", "drop", "reject", "return"):
        return name, ""
    if name in ("jump", "goto"):
        return name, str(content["target"])
    if name in ADDRESS_CHANGES:
        return name, _address(content)
    if name == "tproxy":
        return "redirect", _address(content)
    if name == "fwd":
        return "drop", ""  # another link gets it
    if name == "mangle" and content.get("key") == {"meta": {"key": "mark"}}:
        return "mark", _mark(content.get("value"))
    if name == "notrack":
        return "notrack", ""
    if name == "queue":
        bypass = isinstance(content, dict) and "bypass" in str(content.get("flags"))
        return ("", "") if bypass else ("queue", "")
    if name == "xt" and isinstance(content, dict) and content.get("type") == "target":
        known = {"MASQUERADE": "masquerade", "SNAT": "snat", "DNAT": "dnat", "REDIRECT": "redirect", "REJECT": "reject",
                 "NOTRACK": "notrack"}  # fmt: skip
        return known.get(str(content.get("name")), "mark" if content.get("name") == "MARK" else ""), ""
    return "", ""


def _mark(value: Any) -> str:
    """What a mark becomes, as VALUE/MASK: the bits of the mask give way to the value. "" where it cannot be told."""
    old = {"meta": {"key": "mark"}}
    if isinstance(value, int):
        return f"{value}/{0xFFFFFFFF}"
    if not isinstance(value, dict):
        return ""
    ((operator, sides),) = value.items()
    if not (isinstance(sides, list) and len(sides) == 2 and isinstance(sides[1], int)):
        return ""
    inner, number = sides
    if operator == "|" and inner == old:
        return f"{number}/{number}"
    if operator == "&" and inner == old:
        return f"0/{~number & 0xFFFFFFFF}"
    if operator == "|" and (kept := _mark(inner)).startswith("0/"):
        return f"{number}/{number | int(kept[2:])}"
    return ""


def _address(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    address, port = content.get("addr", ""), content.get("port", "")
    return f"{_value(address)}{f':{_value(port)}' if port != '' else ''}"


# -- conditions --------------------------------------------------------------------------------------------------------

_META = {
    "iifname": "iif", "iif": "iif", "oifname": "oif", "oif": "oif", "l4proto": "proto", "mark": "mark", "nfproto": "family",
    "protocol": "family", "ibrname": "bridge", "obrname": "bridge", "pkttype": "pkttype", "skuid": "never", "skgid": "never",
    "cgroup": "never", "ipsec": "tunnel", "secpath": "tunnel",
}  # fmt: skip
_PAYLOAD = {
    "saddr": "saddr", "daddr": "daddr", "sport": "sport", "dport": "dport", "protocol": "proto", "nexthdr": "proto",
    "flags": "flags",
}  # fmt: skip
_CT = {
    "state": "state", "status": "status", "direction": "direction", "proto-dst": "origport", "daddr": "origdst",
    "ip daddr": "origdst", "ip6 daddr": "origdst", "ip saddr": "saddr", "ip6 saddr": "saddr", "protocol": "proto",
    "l3proto": "family",
}  # fmt: skip
_FIB = {("saddr",): "srctype", ("daddr",): "dsttype"}
_ETHER = {"type": "family", "saddr": "ether"}
_TRANSPORTS = ("tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmpv6", "igmp", "esp", "ah", "comp")
_PORTS = ("dport", "sport", "origport")
_UNUSUAL = ("never", "tunnel", "route", "fragment", "ether")


def _conditions(name: str, content: Any) -> tuple[Way, ...]:
    """What an expression asks for, as alternatives."""
    if name == "limit" and isinstance(content, dict):
        return ((Match("never", ("over a rate",), negated=not content.get("inv", False)),),)
    if name in ("ct count", "quota") and isinstance(content, dict):
        return ((Match("never", ("above a number",), negated=not content.get("inv", False)),),)
    if name in ("set", "meter") and isinstance(content, dict):  # it notes a packet, and may count it against a limit
        statements = content.get("stmt") or ()
        ways: tuple[Way, ...] = ((),)
        for part in (statements,) if isinstance(statements, dict) else statements:
            ((inner, what),) = part.items()
            ways = _both(ways, _conditions(inner, what)) if inner not in _SIDE_EFFECTS else ways
        return ways
    if name == "xt" and isinstance(content, dict) and content.get("type") == "target":
        return ((),)
    if name != "match":
        return UNKNOWN
    return _compared(content.get("op", "=="), content.get("left"), content.get("right"))


def _compared(operator: str, left: Any, right: Any) -> tuple[Way, ...]:
    if isinstance(left, dict) and isinstance(left.get("concat"), list):
        return _concatenated(operator, left["concat"], right)
    implied, what = _implied(left), _left(left)
    negated = operator in ("!=", "!")
    if what == "flags":
        return ((*implied, Match("flags", _flags(operator, left, right), negated)),)
    if isinstance(right, dict) and right.get("set") == []:  # a set with a name, and nothing in it
        return ((*implied, Match("never", (), negated)),)
    if what in _UNUSUAL:
        return ((*implied, _unusual(what, negated, right)),)
    values = _values(right, what) if operator in ("==", "!=", "in", "!") else _range(operator, right)
    if what == "mark" and "&" in left:
        values = tuple(f"{value}/{left['&'][1]}" for value in values)
    return ((*implied, Match(what, values, negated) if what and values else Match("")),)


def _unusual(what: str, negated: bool, right: Any) -> Match:
    """What an ordinary packet never meets, or always: it is of no socket here and no tunnel, whole, and its sender can be
    reached where it came in."""
    none = right is False or (what in ("route", "fragment") and right == 0)
    if what == "tunnel":
        return Match("never", (), negated != none)
    if what == "route":
        return Match("never", (), negated == none)
    if what == "fragment":
        return Match("never", (), not negated) if none else Match("")
    return Match("") if what == "ether" and negated else Match("never")  # a client's is that of the router


def _range(operator: str, right: Any) -> tuple[str, ...]:
    """The numbers that are less or more than one; none where it is no number."""
    if not isinstance(right, int):
        return ()
    first, last = {"<": (0, right - 1), "<=": (0, right), ">": (right + 1, 65535), ">=": (right, 65535)}.get(operator, (1, 0))
    return (f"{first}-{last}",) if first <= last else ()


def _concatenated(operator: str, parts: list[Any], right: Any) -> tuple[Way, ...]:
    """Each element of a set of concatenations: its parts hold together."""
    elements = right.get("set") if isinstance(right, dict) else None
    items = elements if isinstance(elements, list) else [right]
    if not isinstance(right, dict) or operator not in ("==", "in") or len(items) > MAX_ELEMENTS:
        listed = any(_left(part) == "saddr" for part in parts)  # a list of clients
        return ((Match("saddr", ("@",), operator == "!="),),) if listed else UNKNOWN
    found: list[Way] = []
    for item in items:
        inner = item["elem"]["val"] if "elem" in item else item
        ways: tuple[Way, ...] = ((),)
        for part, value in zip(parts, inner["concat"]):
            ways = _both(ways, _compared("==", part, value))
        found += ways
    return tuple(found) or ((Match("never"),),)


def _implied(left: Any) -> Way:
    """What a field asks for before it is compared: `tcp dport` is of no UDP packet, `ip dscp` of no IPv6 one."""
    if not isinstance(left, dict):
        return ()
    if isinstance(left.get("&"), list):
        return _implied(left["&"][0])
    if "tcp option" in left:
        return (Match("proto", ("tcp",)),)
    payload = left.get("payload")
    protocol = payload.get("protocol") if isinstance(payload, dict) else ""
    if protocol in _TRANSPORTS:
        return (Match("proto", (protocol,)),)
    if protocol in ("ip", "ip6"):
        return (Match("family", ("ipv4" if protocol == "ip" else "ipv6",)),)
    return (Match("never"),) if protocol in ("arp", "vlan") else ()


def _flags(operator: str, left: Any, right: Any) -> tuple[str, ...]:
    """TCP flags as MASK/WANTED. A list of flags without a mask asks for one of them, a comparison for these and no others."""
    if "&" not in left and operator in ("in", "!"):
        return tuple(f"{flag}/{flag}" for flag in _words(right))
    mask = ",".join(_words(left["&"][1])) if "&" in left else "ALL"
    items = right["set"] if isinstance(right, dict) and "set" in right else [right]
    return tuple(f"{mask}/{','.join(_words(item))}" for item in items)


def _words(flags: Any) -> list[str]:
    found = flags.get("|", []) if isinstance(flags, dict) else flags if isinstance(flags, list) else [flags]
    return [str(flag) for flag in found]


def _left(left: Any) -> str:
    """What a match compares; one of _UNUSUAL for what no ordinary packet meets, "" where it cannot be told."""
    if not isinstance(left, dict) or len(left) != 1:
        return ""
    ((kind, content),) = left.items()
    if kind == "meta":
        return _META.get(content.get("key"), "")
    if kind == "payload":
        fields = _ETHER if content.get("protocol") == "ether" else _PAYLOAD
        return fields.get(content.get("field"), "")
    if kind == "ct":
        return _CT.get(content.get("key"), "") if content.get("dir", "original") == "original" else ""
    if kind == "fib":
        return _fib(content)
    if kind == "socket":
        return "never"
    if kind == "tcp option":
        return "mss" if (content.get("name"), content.get("field")) == ("maxseg", "size") else ""
    if kind == "&" and isinstance(content, list):
        if content[0] == {"payload": {"protocol": "ip", "field": "frag-off"}}:
            return "fragment"
        inner = _left(content[0])
        return inner if inner in ("mark", "flags") else ""
    return ""


def _fib(content: dict[str, Any]) -> str:
    flags = content.get("flags")
    words = tuple([flags] if isinstance(flags, str) else flags or ())
    if content.get("result") == "type":
        return _FIB.get(words[:1], "")
    return "route" if "saddr" in words else ""


def _values(right: Any, what: str) -> tuple[str, ...]:
    """The alternatives on the right side of a match; "?" stands for the rest of a long set."""
    if isinstance(right, dict) and isinstance(right.get("set"), list):
        items = right["set"]
    elif isinstance(right, list):
        items = right
    else:
        items = [right]
    if what in _PORTS or len(items) <= MAX_ELEMENTS:
        return tuple(map(_value, items))
    return (*map(_value, items[:MAX_ELEMENTS]), "?")


def _value(item: Any) -> str:
    if isinstance(item, dict):
        if "prefix" in item:
            return f"{item['prefix']['addr']}/{item['prefix']['len']}"
        if "range" in item:
            first, last = item["range"]
            return f"{first}-{last}"
        if "elem" in item:
            return _value(item["elem"]["val"])
        if "concat" in item:
            return " . ".join(map(_value, item["concat"]))
        return "?"
    return str(item)


# -- how a rule is quoted ----------------------------------------------------------------------------------------------


def _called(left: Any) -> str:
    """The left side of a match, nearly as nft writes it."""
    if not isinstance(left, dict):
        return "?"
    ((kind, inner),) = left.items()
    if kind == "concat":
        return " . ".join(map(_called, inner))
    if kind == "payload":
        return f"{inner.get('protocol', '')} {inner.get('field', '')}".strip()
    if kind == "meta":
        return str(inner.get("key"))
    if kind == "ct":
        return " ".join(("ct", *([inner["dir"]] if "dir" in inner else ()), str(inner.get("key"))))
    if kind == "fib":
        flags = inner.get("flags")
        return f"fib {flags if isinstance(flags, str) else ' . '.join(flags or ())} {inner.get('result')}"
    if kind == "tcp option":
        return f"tcp option {inner.get('name')} {inner.get('field')}"
    return _left(left) or "?"


def _shown(name: str, content: Any) -> str:
    """An expression nearly as nft writes it: enough to know the rule by."""
    if name == "match":
        words, operator, right = _called(content.get("left")), content.get("op", "=="), content.get("right")
        values = (right["name"],) if isinstance(right, dict) and "name" in right else _values(right, "") or ("?",)
        shown = [f'"{v}"' if words in ("iifname", "oifname") else v for v in values]
        sign = f"{operator} " if operator not in ("==", "in") else ""
        return f"{words} {sign}{shown[0] if len(shown) == 1 else '{ ' + ', '.join(shown) + ' }'}"
    if name in ("jump", "goto"):
        return f"{name} {content['target']}"
    if name in ("snat", "dnat", "redirect"):
        targets = [target for _, target in _targets(content) if target]
        return f"{name} to {targets[0] if len(targets) == 1 else '{ ' + ', '.join(targets) + ' }'}" if targets else name
    if name == "mangle":
        return "meta mark set ..."
    if name == "xt" and isinstance(content, dict):
        return f"xt {content.get('type')} {content.get('name')}"
    return name
