"""First boot: user-data."""
