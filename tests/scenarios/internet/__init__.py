"""An internet of three network namespaces: the machine, a router, and everybody else. Nothing leads out of it."""
