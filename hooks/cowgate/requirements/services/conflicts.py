"""Known servers that hold, or will hold, ports that mailcow publishes. Pure."""

from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.requirements.published import taken_sockets, wanted_sockets
from cowgate.servers import Server, server_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.services import Unit
    from cowgate.policy.model import Policy


# -- who conflicts ---------------------------------------------------------------------------------------------------


class Conflict(NamedTuple):
    """A known server that holds ports of mailcow's, or will: its unit, and the ports."""

    server: Server
    unit: "Unit"
    ports: tuple[int, ...]


def conflicting(facts: "Facts", policy: "Policy") -> tuple[Conflict, ...]:
    """The units of known servers that are in mailcow's way and that the policy does not keep.

    A running server counts by the ports that it really holds, where that can be seen (an nginx on port 8080 is in nobody's
    way). One that is not running but will start counts by the ports of its usual configuration.
    """
    services = facts.services.value
    taken = _taken_by_server(facts)
    wanted = {w.port for w in wanted_sockets(facts.mailcow.value)}
    found = []
    for unit in services.units:
        server = server_of(unit.name)
        if server is None or is_kept(server, policy) or not (unit.running or unit.starts):
            continue
        ports = tuple(port for port in server.ports if port in wanted)
        if taken is not None and unit.active == "active" and server.ports:
            ports = taken.get(server, ())
        if ports or not server.ports:
            found.append(Conflict(server, unit, ports))
    return tuple(found)


def _taken_by_server(facts: "Facts") -> Optional[dict[Server, tuple[int, ...]]]:
    """The ports of mailcow's that each known server holds now; None where it cannot be seen who holds one of them.

    Sockets that no process shows elsewhere do not matter: the kernel's own (WireGuard, VXLAN, NFS) never show one.
    """
    if facts.sockets.content is None:
        return None
    taken: dict[Server, tuple[int, ...]] = {}
    for listener, _ in taken_sockets(facts):
        if listener.pid is None:
            return None
        server = server_of(listener.unit, listener.process)
        if server is not None:
            taken[server] = tuple(dict.fromkeys((*taken.get(server, ()), listener.port)))
    return taken


def is_kept(server: Server, policy: "Policy") -> bool:
    """Whether the policy keeps this server, by the name of any of its units (the ending may be left out)."""
    kept = {name.rpartition(".")[0] if name.endswith((".service", ".socket")) else name for name in policy.keep_services}
    return bool(kept & {*server.services, *server.sockets})
