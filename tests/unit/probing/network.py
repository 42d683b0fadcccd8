"""A network that exists only in a script: names, listeners and what they say. The real one is in tests/scenarios."""
# ruff: noqa: ARG002 - the methods have the parameters of the real ones

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

from cowgate.errors import CommandMissing
from cowgate.machine.host import Host
from cowgate.machine.net import Echo, Flow

Talk = Callable[[bytes], bytes]


class ScriptedSocket:
    """Gives `answer(what was sent so far)`, in pieces, or raises what the script says."""

    def __init__(self, talk: Talk, log: list[bytes]) -> None:
        self.talk, self.log, self.sent, self.given = talk, log, b"", 0
        self.closed = False

    def sendall(self, data: bytes) -> None:
        self.sent += data
        self.log.append(data)

    def recv(self, size: int) -> bytes:
        piece = self.talk(self.sent)[self.given : self.given + size]
        self.given += len(piece)
        return piece

    def settimeout(self, seconds: float) -> None:
        """A script never waits."""

    def do_handshake(self) -> None:
        """Spoken by saying nothing; what goes wrong in it is raised by ScriptedContext."""

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> ScriptedSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ScriptedContext:
    """TLS that is spoken by saying nothing; `trouble` maps server names to the exception of a handshake."""

    def __init__(self, trouble: dict[str, Exception]) -> None:
        self.trouble = trouble

    def wrap_socket(self, sock: ScriptedSocket, server_hostname: str, do_handshake_on_connect: bool = True) -> ScriptedSocket:
        if server_hostname in self.trouble:
            raise self.trouble[server_hostname]
        return sock


class ScriptedNet:
    """`names`: name -> addresses. `tcp`, `udp`: (address, port) -> talk or exception. `echoes`: address -> largest size."""

    def __init__(self) -> None:
        self.names: dict[str, Sequence[str]] = {}
        self.tcp: dict[tuple[str, int], Any] = {}
        self.udp: dict[tuple[str, int], Any] = {}
        self.echoes: dict[str, Any] = {}
        self.sources: dict[str, Optional[str]] = {"ipv4": "203.0.113.10", "ipv6": None}
        self.trouble: dict[str, Exception] = {}
        self.log: list[bytes] = []
        self.sockets: list[ScriptedSocket] = []

    def resolve(self, name: str, family: str, port: int) -> list[str]:
        found = [a for a in self.names.get(name, [name]) if (":" in a) == (family == "ipv6")]
        if name not in self.names and not name.replace(".", "").replace(":", "").isalnum():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not found or (name not in self.names and not _is_address(name)):
            raise socket.gaierror(socket.EAI_NODATA if name in self.names else socket.EAI_NONAME, "no")
        return found

    def addresses(self, name: str, port: int) -> list[str]:
        found, trouble = [], None
        for family in ("ipv4", "ipv6"):
            try:
                found += self.resolve(name, family, port)
            except socket.gaierror as error:
                trouble = error
        if not found and trouble:
            raise trouble
        return found

    def barred(self, address: str) -> str:
        return ""

    def flow(self, sock: ScriptedSocket) -> Flow:
        return Flow(received=sock.given)

    def first_answer(
        self, payloads: Sequence[tuple[str, bytes]], port: int, gap: float, seconds: float
    ) -> Iterator[tuple[str, bytes]]:
        for address, payload in payloads:
            try:
                yield address, self.datagram(address, port, payload, gap)
            except OSError:
                continue

    def source(self, address: str) -> Optional[str]:
        return self.sources["ipv6" if ":" in address else "ipv4"]

    def connect(self, address: str, port: int, seconds: float) -> ScriptedSocket:
        talk = self.tcp.get((address, port), ConnectionRefusedError(111, "Connection refused"))
        if isinstance(talk, Exception):
            raise talk
        self.sockets.append(ScriptedSocket(talk, self.log))
        return self.sockets[-1]

    def tls_context(self) -> ScriptedContext:
        return ScriptedContext(self.trouble)

    def datagram(self, address: str, port: int, payload: bytes, seconds: float, tries: int = 2) -> bytes:
        talk = self.udp.get((address, port), socket.timeout("timed out"))
        if isinstance(talk, Exception):
            raise talk
        self.log.append(payload)
        answer: bytes = talk(payload)
        return answer

    def echo(self, address: str, sizes: Sequence[int], seconds: float, *, probe: bool = False, gap: float = 0.0) -> list[Echo]:
        most = self.echoes.get(address, 0)
        if isinstance(most, Exception):
            raise most
        return [Echo(size, answered=size <= most) for size in sizes]


def _is_address(text: str) -> bool:
    return text.replace(".", "").isdigit() or ":" in text


class ScriptedHost(Host):
    """A live machine whose files and network are made up; its clock stands at `at`."""

    def __init__(self, net: Optional[ScriptedNet] = None, files: Optional[dict[str, str]] = None, at: float = 1e9) -> None:
        super().__init__()
        self.scripted = net or ScriptedNet()
        self.files, self.at = files or {}, at
        self.variables: dict[str, str] = {}

    @property
    def net(self) -> Any:
        return self.scripted

    def run(self, argv: Sequence[str], **_: Any) -> Any:
        """No command is there."""
        raise CommandMissing(argv[0])

    def now(self) -> float:
        return self.at

    def environment(self, suffix: str) -> dict[str, str]:
        return self.variables

    def read_or_none(self, path: str, limit: int = 0) -> Optional[str]:
        text = self.files.get(path)
        if text == "EACCES":
            raise PermissionError(13, "Permission denied", path)
        return text

    def listdir(self, path: str) -> list[str]:
        return sorted(name[len(path) + 1 :] for name in self.files if name.startswith(f"{path}/"))
