"""docker-compose.override.yml: put in and take out one value, and keep every other byte.

The edits are spliced into the text where its nodes stand (splice), and read again: where no splice means what the file meant
before plus exactly what was asked (yamltext), the edit is refused.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from cowgate.formats.splice import Spec, add_lines, append, content_end, cut, fill, insert, replace, spec_of
from cowgate.formats.yamltext import (
    NULL,
    STR,
    Document,
    Mapping,
    Node,
    YamlError,
    find,
    first_that_means,
    is_merge,
    key_of,
    line_end,
    line_start,
    lookup,
    meaning,
    merge_sources,
    read,
    with_value,
    without_value,
)

NETWORK = "mailcow-network"
MTU_KEY = "com.docker.network.driver.mtu"
BRIDGE_KEY = "com.docker.network.bridge.name"
BRIDGE_NAME = "br-mailcow"  # mailcow's firewall container and update script know the bridge by this name only
MTU_PATH = ("networks", NETWORK, "driver_opts", MTU_KEY)

LOCK_KEY = "x-cowgate"
LOCK_START = "${COWGATE_READY:?"
# Stands above the lock in a file that did not exist before, so that unlock knows to remove the file.
LOCK_HEADER = "# cowgate made this file to keep mailcow from starting, and takes it away when this machine is ready."
_LOCK_LINE = re.compile(r'^[ ]*"?x-cowgate"?[ ]*:[ ]*"\$\{COWGATE_READY:\?[^"\n\r]*\}"[ ]*(?:\r\n|\n|\r|$)', re.M)


# -- the MTU -----------------------------------------------------------------------------------------------------------


def set_mtu(text: Optional[str], mtu: int) -> str:
    """The text in which mailcow's network gets an MTU of `mtu` bytes, as a quoted string. Raises YamlError."""
    document = read(text or "")
    meant = meaning(document)
    wanted = with_value(meant, MTU_PATH, (STR, str(mtu)))
    if text is not None and lookup(meant, MTU_PATH) == (STR, str(mtu)):
        return text
    return first_that_means(_put(document, document.root, MTU_PATH, f'"{mtu}"'), wanted, "setting the MTU")


def unset_mtu(text: Optional[str]) -> Optional[str]:
    """The text in which mailcow's network gets no MTU; None when nothing else was in the file. Raises YamlError.

    Mappings that this leaves empty go as well, unless a comment stands in them.
    """
    if text is None:
        return None
    document = read(text)
    meant = meaning(document)
    if lookup(meant, MTU_PATH) is None:
        return text
    trail = _trail(document.root, MTU_PATH)
    if len(trail) < len(MTU_PATH):
        raise YamlError(
            "the MTU comes from a merge key (<<) or an alias; take it out by hand", trail[-1][1].line if trail else 1
        )
    for depth in range(1, len(MTU_PATH) + 1):
        parent, key, value = trail[depth - 1]
        rest = cut(document, parent, key, value)
        if rest is None or (depth < len(MTU_PATH) and not _only_ours(document, trail, depth)):
            continue
        try:
            after = meaning(read(rest))
        except YamlError:
            continue
        if any(after == without_value(meant, MTU_PATH[:depth], braces=braces) for braces in (False, True)):
            return rest if rest.strip("\ufeff \t\r\n") else None
    raise YamlError("taking out the MTU cannot be done without changing something else in the file; edit it by hand")


def _trail(root: Optional[Node], path: tuple[str, ...]) -> list[tuple[Node, Node, Node]]:
    """(mapping, key, value) for each step of the path that is written out in the file itself."""
    trail = []
    node = root
    for name in path:
        pair = find(node, name)
        if node is None or pair is None:
            break
        trail.append((node, *pair))
        node = pair[1]
    return trail


def _only_ours(document: Document, trail: list[tuple[Node, Node, Node]], depth: int) -> bool:
    """Whether the value at `depth` holds nothing but the way to the MTU: no other key, no comment, nothing shared."""
    below = trail[depth:]
    first, last = trail[depth - 1][1], trail[-1][2]
    return all(len(parent.pairs) == 1 and parent.anchor is None and parent.tag is None for parent, _, _ in below) and (
        "#" not in document.text[first.start : line_end(document.text, content_end(last))]
    )


def _put(document: Document, node: Optional[Node], path: tuple[str, ...], token: str) -> Iterator[str]:
    """Texts in which `token` stands at `path` under the mapping `node`, the most natural first."""
    name, rest = path[0], path[1:]
    if node is None or node.kind != "map":
        yield from append(document, spec_of(path, token))
        return
    _refuse_reset(node)
    pair = find(node, name)
    if pair is None:
        yield from insert(document, node, _inherit(document, node, path, token))
    elif not rest:
        _refuse_value(pair[1])
        yield from replace(document, node, pair[1], token)
    else:
        yield from _descend(document, node, pair, rest, token)


def _descend(document: Document, parent: Node, pair: tuple[Node, Node], path: tuple[str, ...], token: str) -> Iterator[str]:
    key, value = pair
    if value.kind == "alias":
        raise YamlError(f"{key.text} is an alias (*): the change would reach everything that shares it", value.line)
    if value.aliased:
        raise YamlError(
            f"{key.text} has an anchor (&{value.anchor}) that is used elsewhere too: it would change as well", value.line
        )
    if value.kind == "seq":
        raise YamlError(f"{key.text} is a list; Compose cannot merge a list with mailcow's own mapping", value.line)
    _refuse_reset(value)
    if value.kind == "map":
        yield from _put(document, value, path, token)
    elif value.null and value.tag is None:
        yield from fill(document, parent, value, spec_of(path, token))
    else:
        raise YamlError(f"{key.text} is not a mapping (key: value)", value.line)


def _refuse_value(value: Node) -> None:
    if value.kind not in ("scalar", "alias"):
        raise YamlError("the MTU is not a single value", value.line)
    if value.aliased:
        what = f"the MTU has an anchor (&{value.anchor}) that is used elsewhere too: it would change as well"
        raise YamlError(what, value.line)


def _refuse_reset(node: Node) -> None:
    if node.tag == "!reset":
        raise YamlError("!reset takes this away from mailcow's network; nothing can be set in it", node.line)


def _inherit(document: Document, node: Node, path: tuple[str, ...], token: str) -> Spec:
    """What to insert for a key that is not written out. Where a merge key gives it, writing it out replaces all of it."""
    inherited = None
    for key, value in node.pairs:
        for source in merge_sources(value) if is_merge(key) else ():
            inherited = inherited or find(source, path[0])
    if inherited is None or len(path) == 1:
        return spec_of(path, token)
    value = inherited[1].target or inherited[1]
    if len(path) > 2 or value.kind != "map":
        raise YamlError(f"{path[0]} comes from a merge key (<<); write it out by hand", node.line)
    copied: Spec = {}
    for key, scalar in value.pairs:
        if key.kind != "scalar" or scalar.kind != "scalar" or is_merge(key) or {key.anchor, scalar.anchor} != {None}:
            raise YamlError(f"{path[0]} comes from a merge key (<<) and is not simple; write it out by hand", node.line)
        if key.value != path[1]:
            copied[document.text[key.start : key.end]] = document.text[scalar.start : scalar.end]
    return {path[0]: {**copied, path[1]: token}}


# -- the lock ----------------------------------------------------------------------------------------------------------


def lock(text: Optional[str], message: str) -> str:
    """The text with the lock: Compose stops with `message` unless COWGATE_READY is set. unlock() gives `text` back.

    The lock is the first line. Raises YamlError, also where the file is broken (Compose stops there by itself).
    """
    if set(message) & set('"\\${}\r\n') or not message.isprintable():
        raise ValueError(f"not fit for a quoted Compose variable: {message!r}")
    token = f'"{LOCK_START}{message}}}"'
    if text is None:
        return f"{LOCK_HEADER}\n{LOCK_KEY}: {token}\n"
    document = read(text)
    meant = meaning(document)
    held = lookup(meant, (LOCK_KEY,))
    wanted = with_value(meant, (LOCK_KEY,), (STR, token[1:-1]))
    if held == (STR, token[1:-1]):
        return text
    if held is None:
        return first_that_means(_locked(document, token), wanted, "setting the lock")
    pair = find(document.root, LOCK_KEY)
    if document.root is None or pair is None or not _is_lock(pair[1]):
        raise YamlError(f"{LOCK_KEY} is already used for something else", pair[1].line if pair else None)
    return first_that_means(replace(document, document.root, pair[1], token), wanted, "renewing the lock")


def _is_lock(value: Node) -> bool:
    return value.kind == "scalar" and value.value.startswith(LOCK_START)


def _locked(document: Document, token: str) -> Iterator[str]:
    text, root = document.text, document.root
    if root is not None and root.flow:
        separator = ", " if root.pairs else ""
        yield f'{text[: root.inside]}"{LOCK_KEY}": {token}{separator}{text[root.inside :]}'
        return
    column = root.column if root is not None and root.kind == "map" else 0
    line = [f"{' ' * column}{LOCK_KEY}: {token}"]
    yield add_lines(document, document.body, line)
    if root is not None and root.kind == "map":
        yield add_lines(document, root.inside - column, line)


def unlock(text: Optional[str]) -> Optional[str]:
    """The text without the lock, otherwise the same bytes; None for a file that lock() made and nobody added to.

    Works on a file that somebody broke meanwhile, too: there the lock's own line is taken out.
    """
    if text is None:
        return None
    try:
        document = read(text)
        meant = meaning(document)
    except YamlError:
        return _LOCK_LINE.sub("", text, count=1)
    pair = find(document.root, LOCK_KEY)
    if document.root is None or pair is None or not _is_lock(pair[1]):
        return text
    entries = {key: value for key, value in meant.entries.items() if key != key_of(LOCK_KEY)}
    rest = first_that_means(_unlocked(document, document.root, *pair), Mapping(meant.tag, entries), "taking out the lock")
    header = LOCK_HEADER + document.eol
    above = line_start(text, pair[0].start)
    if text[:above].endswith(header):
        rest = text[: above - len(header)] + rest[above:]
        return rest or None
    return rest


def _unlocked(document: Document, root: Node, key: Node, value: Node) -> Iterator[str]:
    if root.flow:
        # Exactly what lock() put there, before the general way, which would also take a space that was there before.
        separator = ", " if len(root.pairs) > 1 else ""
        if document.text.startswith(separator, value.end):
            yield document.text[: key.start] + document.text[value.end + len(separator) :]
    rest = cut(document, root, key, value)
    if rest is not None:
        yield rest


# -- looking ------------------------------------------------------------------------------------------------------------


class Inspection(NamedTuple):
    """What an override does, as far as cowgate cares.

    `networks` are those it defines or changes, `configured` those of them with driver_opts, ipam or enable_ipv6, `used` those
    that its services join, `services` those that it defines or changes; `name` and `network_name` are what it calls the
    project and mailcow's network. `ipam` are the subnets it repeats for mailcow's network (None: it does not).
    """

    mtu: Optional[str]
    locked: bool
    networks: tuple[str, ...]
    configured: tuple[str, ...]
    used: tuple[str, ...]
    ipam: Optional[tuple[str, ...]]
    bridge_name: Optional[str]
    drops_bridge_name: bool
    empty_services: bool
    services: tuple[str, ...]
    name: str
    network_name: str


def inspect(text: str) -> Inspection:
    """What the override says. Raises YamlError (`broken` or not) where it cannot be read."""
    document = read(text)
    meant = meaning(document)
    networks = lookup(meant, ("networks",))
    services = lookup(meant, ("services",))
    ours = lookup(networks, (NETWORK,))
    options = lookup(ours, ("driver_opts",))
    if isinstance(options, tuple) and isinstance(options[1], tuple):
        raise YamlError(
            f"driver_opts of {NETWORK} is a list; Compose cannot merge a list with mailcow's own mapping", broken=True
        )
    for name, part in (("networks", networks), (NETWORK, ours), ("driver_opts", options), ("services", services)):
        if part is not None and not isinstance(part, Mapping) and _tag(part) not in (NULL, "!reset"):
            raise YamlError(f"{name} is not a mapping (key: value)", broken=True)
    bridge = _scalar(lookup(options, (BRIDGE_KEY,)))
    replaced = any(_tag(part) in ("!override", "!reset") for part in (networks, ours, options))
    return Inspection(
        mtu=_scalar(lookup(options, (MTU_KEY,))),
        locked=(_scalar(lookup(meant, (LOCK_KEY,))) or "").startswith(LOCK_START),
        networks=tuple(name for name, _ in _named(networks)),
        configured=tuple(
            name for name, value in _named(networks) if {n for n, _ in _named(value)} & {"driver_opts", "ipam", "enable_ipv6"}
        ),
        used=tuple(sorted(set(_joined(services)))),
        ipam=_subnets(lookup(ours, ("ipam", "config"))),
        bridge_name=bridge,
        drops_bridge_name=replaced and bridge != BRIDGE_NAME,
        empty_services=services == (NULL, "") or (isinstance(services, tuple) and services[0] == NULL),
        services=tuple(name for name, _ in _named(services)),
        name=_scalar(lookup(meant, ("name",))) or "",
        network_name=_scalar(lookup(ours, ("name",))) or "",
    )


def _named(mapping: Any) -> list[tuple[str, Any]]:
    """The entries of a mapping whose keys are scalars, as names; none where it is no mapping."""
    if not isinstance(mapping, Mapping):
        return []
    return [(key[1], value) for key, value in mapping.entries.items() if isinstance(key, tuple)]


def _tag(meant: Any) -> Optional[str]:
    return meant.tag if isinstance(meant, Mapping) else meant[0] if isinstance(meant, tuple) else None


def _scalar(meant: Any) -> Optional[str]:
    return meant[1] if isinstance(meant, tuple) and isinstance(meant[1], str) and meant[0] != NULL else None


def _joined(services: Any) -> Iterator[str]:
    """The networks that services join, in the list form or the mapping form."""
    for _, service in _named(services):
        networks = lookup(service, ("networks",))
        yield from (name for name, _ in _named(networks))
        if isinstance(networks, tuple) and isinstance(networks[1], tuple):
            yield from (item[1] for item in networks[1] if _scalar(item))


def _subnets(config: Any) -> Optional[tuple[str, ...]]:
    if not (isinstance(config, tuple) and isinstance(config[1], tuple)):
        return None
    return tuple(_scalar(lookup(item, ("subnet",))) or "" for item in config[1])
