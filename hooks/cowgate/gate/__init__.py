"""The gate: open only on a fresh, whole, ready report of this machine."""
