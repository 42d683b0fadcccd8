"""Prints the matrix at the end of the layer: cell, row, expected, got."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    told = [
        value for report in reports for name, value in report.user_properties if name == "matrix" and report.when == "call"
    ]
    if told:
        terminalreporter.section("cell | row | expected | got")
        for line in told:
            terminalreporter.write_line(line)
