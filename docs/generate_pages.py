"""Pages of the site that are made from other files (called by mkdocs-gen-files).

The home page is the README; contributing and changelog come from the repository's root; the API
reference has one page per package, from the docstrings.
"""

from __future__ import annotations

import re
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "slimpose"
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
ROOT_PAGES["CHANGELOG.md"] = "changelog.md"
API_TITLES = {
    "core": "Core: arrays, poses, geometry, drawing",
    "formats": "File formats",
    "media": "Images, videos, streams",
    "runtime": "Running models",
    "tracking": "Tracking",
    "adapters": "Models of others",
    "evaluate": "Evaluation",
    "motion": "Motion files",
    "measure": "Measuring speed",
    "network": "Networks",
    "data": "Training data",
    "labels": "Labels of your own",
    "bulk": "Archives on many workers",
    "train": "Training",
    "export": "Export, quantization, hardware",
    "compare": "Comparing systems",
    "compat": "Interfaces of other packages",
}


def write_root_pages() -> None:
    """Copy pages from the root; their links into docs/ and to each other are adjusted."""
    for name, page in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, target in ROOT_PAGES.items():
            text = text.replace(f"]({other})", f"]({target})")
        with mkdocs_gen_files.open(page, "w") as file:
            file.write(text)


def modules_of(package: str) -> list[str]:
    """Return the full names of a package's public modules; of "core" those in the root."""
    pattern, folder = ("*.py", PACKAGE) if package == "core" else ("**/*.py", PACKAGE / package)
    names = []
    for path in sorted(folder.glob(pattern)):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] != "__init__":
            names.append(".".join(("slimpose", *parts)))
    return names


def summary_of(module: str) -> str:
    """Return the first line of a module's docstring."""
    text = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    found = re.match(r'"""(.*?)(?:"""|\n\n)', text, re.S)
    return " ".join(found[1].split()) if found else ""


def write_api_pages() -> None:
    """Write one reference page per package, and a list of all modules."""
    index = ["# Python reference\n"]
    for package, title in API_TITLES.items():
        modules = modules_of(package)
        page = f"api/{package}.md"
        with mkdocs_gen_files.open(page, "w") as file:
            file.write(f"# {title}\n\n" + "\n\n".join(f"::: {module}" for module in modules))
        index.append(f"\n## [{title}]({package}.md)\n\n| module | what it does |\n|---|---|\n")
        for module in modules:
            summary = summary_of(module).replace("|", "\\|")
            index.append(f"| [{module}]({package}.md#{module}) | {summary} |\n")
    with mkdocs_gen_files.open("api/index.md", "w") as file:
        file.write("".join(index))


write_root_pages()
write_api_pages()
