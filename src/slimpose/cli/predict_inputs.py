"""The inputs of ``predict``: which files, what they are called in outputs, and which failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rich.console import Console

from slimpose.formats.results import unique_image_numbers
from slimpose.media.addresses import SourceError, plain_reason, redacted
from slimpose.media.images import ImageError
from slimpose.media.sources import expand, fetch_image, is_image_url
from slimpose.messages import short_name


@dataclass(slots=True)
class Failures:
    """The inputs that failed."""

    console: Console
    names: list[str] = field(default_factory=list)
    exit_code: int = 2

    def add(self, name: str, error: Exception) -> None:
        """Report why an input failed, and remember it."""
        reason = plain_reason(error)
        line = reason if reason.startswith(name) else f"{name}: {reason}"
        self.console.print(f"slimpose: {line}")
        self.names.append(name)

    def summarize(self, *, completed: int) -> int:
        """List the failed inputs, if there were others too; return the exit code."""
        inputs = len(self.names) + completed
        if self.names and inputs > 1:
            self.console.print(f"slimpose: {len(self.names)} of {inputs} inputs failed:")
            for name in self.names:
                self.console.print(f"  {name}")
        return self.exit_code if self.names else 0


def expand_all(
    sources: Iterable[str],
    failures: Failures,
    *,
    recursive: bool = False,
    downloads: Path | None = None,
) -> list[Path]:
    """Return the files that the sources name, each once; report sources that name none.

    Images that are named by their addresses are fetched into the folder ``downloads``, if given.
    """
    files: dict[Path, Path] = {}
    for source in sources:
        try:
            if downloads is not None and is_image_url(source):
                found = [fetch_image(source, downloads)]
            else:
                found = expand(source, recursive=recursive)
            for file in found:
                files.setdefault(file.resolve(), file)
        except (SourceError, ImageError) as error:
            failures.add(short_name(redacted(source)), error)
    return list(files.values())


def subfolders(sources: Iterable[str], files: Iterable[Path]) -> dict[Path, Path]:
    """Return for each file in a subfolder of a folder among the sources this subfolder."""
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    return {
        file: file.parent.relative_to(folder)
        for folder in reversed(folders)  # the first one that holds a file counts
        for file in files
        if file.is_relative_to(folder)
    }


@dataclass(frozen=True, slots=True)
class Input:
    """An input file, its name in records, and the unique start of the names of its files.

    ``image_id`` is the number that an image is named by, if no other input has the same.
    """

    path: Path
    source: str
    stem: str
    image_id: int | None


def name_inputs(files: Sequence[Path]) -> list[Input]:
    """Return the inputs, each with a name in records and a stem of its own."""
    occurrences = Counter(file.name for file in files)
    numbers = unique_image_numbers(files)
    stems: set[str] = set()
    inputs: list[Input] = []
    for file in files:
        numbered = (file.stem if n == 1 else f"{file.stem}-{n}" for n in count(1))
        stem = next(stem for stem in numbered if stem.lower() not in stems)
        stems.add(stem.lower())
        source = file.name if occurrences[file.name] == 1 else file.as_posix()
        inputs.append(Input(file, source, stem, numbers.get(file)))
    return inputs
