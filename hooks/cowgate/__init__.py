"""cowgate makes a machine ready for mailcow: dockerized, proves it, and keeps the install shut until it is proven."""

VERSION = "0.1.0"
