"""A time server of the lab's own: it tells the host's time and never touches the host's clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.netns import Namespace
from tests.lab.process import stop, wait_until

CONFIGURATION = "local stratum 3\nallow\nbindaddress {address}\ncmdport 0\nbindcmdaddress /\npidfile {directory}/pid\n"


@contextmanager
def ntp_server(network: Namespace, directory: str, address: str = "127.0.0.1") -> Iterator[None]:
    """Serve time on `address` in `network`; `directory` takes its files. Needs the package chrony on the host."""
    with open(f"{directory}/ntp.conf", "w", encoding="ascii") as out:
        out.write(CONFIGURATION.format(address=address, directory=directory))
    # -x: the clock is not adjusted
    command = ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", f"{directory}/ntp.conf"]
    server = network.start(command, log=f"{directory}/ntp.log")
    try:
        wait_until(lambda: os.path.exists(f"{directory}/pid"), "the time server", 20)
        yield
    finally:
        stop(server)
