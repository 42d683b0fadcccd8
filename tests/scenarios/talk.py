"""The two ends of a TCP connection, for tests that watch whether connections survive.

python3 talk.py echo PORT                  serve on all addresses: first the peer's address, then every line back
python3 talk.py ask ADDRESS PORT           print the address that the server saw
python3 talk.py hold ADDRESS PORT FILE     keep one connection busy; FILE counts the answers, and says "lost" at its end
"""

from __future__ import annotations

import socket
import socketserver
import sys
import time

PATIENCE = 5.0  # seconds without an answer until a connection counts as lost
PAUSE = 0.05  # seconds between two lines


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(f"{self.client_address[0]}\n".encode())
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def hold(address: str, port: int, path: str) -> None:
    count = 0
    with open(path, "w", encoding="ascii") as log:
        try:
            with socket.create_connection((address, port), PATIENCE) as connection:
                stream = connection.makefile("rwb", buffering=0)
                stream.readline()
                while True:
                    count += 1
                    stream.write(b"%d\n" % count)
                    if stream.readline() != b"%d\n" % count:
                        raise ConnectionError("the other end closed")
                    log.write(f"{count}\n")
                    log.flush()
                    time.sleep(PAUSE)
        except OSError as error:
            log.write(f"lost: {error}\n")


def main(mode: str, *words: str) -> None:
    if mode == "echo":
        with Server(("::", int(words[0])), Echo) as server:
            server.serve_forever()
    elif mode == "ask":
        with socket.create_connection((words[0], int(words[1])), PATIENCE) as connection:
            print(connection.makefile().readline().strip())
    else:
        hold(words[0], int(words[1]), words[2])


if __name__ == "__main__":
    main(*sys.argv[1:])
