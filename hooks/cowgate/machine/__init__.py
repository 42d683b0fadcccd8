"""The only door to the machine: files, processes, network and clocks."""
