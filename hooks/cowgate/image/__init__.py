"""What an image may hold: hygiene, seal, hook."""
