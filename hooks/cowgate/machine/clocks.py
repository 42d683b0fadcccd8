"""The clocks of the machine."""

from __future__ import annotations

import ctypes
import os
import struct
import time

from cowgate.errors import CommandFailed
from cowgate.machine.root import Root


class Clocks(Root):
    """Times, and how far the kernel trusts its own."""

    def clock_error(self) -> int:
        """How wrong the kernel thinks the clock may be, in microseconds (adjtimex(2), maxerror); needs no privilege.

        It grows by 500 a second while nothing disciplines the clock and ends at 16,000,000, which means unsynchronized.
        """
        self.demand_live("the clock")
        # struct timex has 208 bytes on 64-bit; modes = 0 only reads
        timex = ctypes.create_string_buffer(512)
        if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
            raise CommandFailed(f"adjtimex: {os.strerror(ctypes.get_errno())}")
        maxerror: int = struct.unpack_from("@illl", timex)[3]
        return maxerror

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        """Seconds since boot, suspend included: it cannot be set back."""
        self.demand_live("the clock")
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()
