"""``slimpose models``."""

from __future__ import annotations

import json as json_format
from typing import Any

from rich.table import Table
from rich.text import Text

from slimpose.cli.doctor import wide_console
from slimpose.runtime.models import DEFAULT_DETECTOR, DEFAULT_POSE, WEIGHTS, shipped
from slimpose.runtime.session import Session


def models(json: bool = False) -> int:
    """List the shipped models: task, size, cost, file, and model card.

    Args:
        json: Print a JSON list instead, with the complete recipe and training figures.
    """
    entries = [_entry(name) for name in shipped()]
    if json:
        print(json_format.dumps(entries, indent=2))
        return 0
    if not entries:
        raise RuntimeError(f"no models in {WEIGHTS}: this package was built without weights")
    console = wide_console()
    table = Table("name", "task", "input", "precision")
    for heading in ("GMAC", "parameters"):
        table.add_column(heading, justify="right")
    for entry in entries:
        table.add_row(
            entry["name"] + (" (default)" if entry["default"] else ""),
            *(entry[key] for key in ("task", "size", "precision")),
            f"{entry['gmac']:.3f}",
            f"{entry['params']:,}",
        )
    console.print(table)
    for entry in entries:
        console.print(Text(f"\n{entry['name']}", style="bold"))
        console.print(f"  file: {entry['path']}")
        for key, value in _short_card(entry["card"]).items():
            text = value if isinstance(value, str) else json_format.dumps(value)
            console.print(f"  {key}: {text}")
    return 0


def _short_card(card: dict[str, Any]) -> dict[str, Any]:
    """Return a card with the recipe's name only.

    Training figures are left out if "measured" gives those of the file itself.
    """
    short = {
        key: value for key, value in card.items() if key != "figures" or "measured" not in card
    }
    if isinstance(recipe := short.get("recipe"), dict):
        short["recipe"] = f"{recipe.get('name')} (complete with --json)"
    return short


def _entry(name: str) -> dict[str, Any]:
    """Return the facts about a shipped model; ``name`` is what ``--model`` takes."""
    path = shipped()[name]
    info = Session(path, threads=1).info
    return {
        "name": name,
        "task": info.task,
        "default": name in (DEFAULT_POSE, DEFAULT_DETECTOR),
        "path": str(path),
        "size": str(info.size),
        "precision": info.precision,
        "gmac": info.gmac,
        "params": info.params,
        "card": dict(info.card),
    }
