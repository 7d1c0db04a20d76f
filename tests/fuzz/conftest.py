"""Prints the table of what was played."""

from __future__ import annotations

from typing import Any

from fuzz_harness import table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in report.user_properties
        if name == "fuzz"
    ]
    if rows:
        terminalreporter.section("malformed inputs")
        for line in table(rows):
            terminalreporter.write_line(line)
