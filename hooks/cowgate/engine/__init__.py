"""Evaluate, plan, run, undo."""
