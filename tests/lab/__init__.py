"""The lab: real root trees, containers, network namespaces and virtual machines for the tests that need them.

Standard library only, root on a Debian host. Everything is made below `$COWGATE_LAB` (default /var/tmp/cowgate-lab),
has a time-out, and is taken down when its context manager ends, after a failure too.
"""
