"""The vocabulary of docs/glossary.md: words that it replaced are used nowhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXEMPT = (Path(__file__), ROOT / "src/slimpose/cli/renamed_options.py")
"""Files that must name the old words."""
REPLACED = re.compile(
    r"\b(so-manieth|told|tells?|telling|nobody|somebody|everybody|pictures?|films?|beside|puts_of|"
    r"look(s|ed|ing)? at|quieten\w*|mend(ed|s|ing|ings)?|promise[sd]?|contenders?|cast_of|anew|"
    r"whom|to be had|hand(ed|s)? over|worried|sameness|likeness|clothes|halved|nought|"
    r"taken? apart|taught|"
    r"whole way|at hand|imitat(e|es|ed|ion|ing)|learnt|colour\w*|grey\w*|centre\w*|licence\w*|"
    r"behaviour\w*|neighbour\w*|labelled|normalis\w*|quantis\w*|equalis\w*|analyse[sd]?)\b",
    re.IGNORECASE,
)


def test_replaced_words_are_not_used() -> None:
    """Help texts are docstrings of src, so they are covered; the log of experiments is history."""
    files = [
        path
        for folder in ("src", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".toml") and path not in EXEMPT
    ]
    files += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs/tutorials").glob("*.md")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group(0)}"
        for path in files
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := REPLACED.search(line))
    ]
    assert not found, "\n".join(found)
