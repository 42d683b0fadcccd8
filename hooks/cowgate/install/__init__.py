"""The mailcow install behind the gate."""
