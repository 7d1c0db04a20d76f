"""Active choice of labels against random ones: AP of two training sets of the same size.

    python benchmarks/active_labels.py --labels ../shared/data/pose/person_keypoints.json \
        --images ../shared/data/pose/images --out runs/active --choose 200 --seeds 3

Per seed: a pool and a held-out set are drawn from the people of ``--source`` (other originals in
both). A first model is trained on ``--first`` random people, from ``--start``. It proposes labels
for the pool, as ``slimpose label`` does, in the labeled boxes. Then it is trained further, twice,
with the same settings: on the first people and 200 more, the hardest of the pool or random ones.
Printed are the AP of all three on the held-out people, with their boxes and without flip test, and
how many keypoints the chosen people have. The last line is JSON: figures, versions, commit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import machine
import numpy as np

from slimpose.cli.arguments import run
from slimpose.cli.main import main as slimpose_main
from slimpose.formats.files import read_json, write_json
from slimpose.labels.proposals import Proposal, hardest_first, propose
from slimpose.media.images import read_image
from slimpose.runtime.pipeline import load


def main(
    labels: Path,
    images: Path,
    out: Path,
    start: str = "imagenet",
    recipe: str = "own",
    source: str = "coco",
    first: int = 300,
    pool: int = 1500,
    held_out: int = 400,
    choose: int = 200,
    first_samples: int = 12_000,
    samples: int = 6000,
    size: str = "192x160",
    frozen_stages: int = 3,
    seed: int = 0,
    seeds: int = 3,
    threads: int = 2,
) -> None:
    """Train on chosen and on random labels and print AP of both.

    Args:
        labels: COCO file with the labels of all.
        images: Folder of its images.
        out: Folder of the runs.
        start: Weights that the first model starts from; not ones that were trained on these labels.
        recipe: Recipe of all runs.
        source: Only people of this source (the field of the file); "" for all.
        first: People that the first model is trained on.
        pool: People to choose from.
        held_out: People that AP is measured on.
        choose: People to choose.
        first_samples: Crops of the first model.
        samples: Crops of the others.
        size: Input size of every run.
        frozen_stages: Stages of the encoder that are not trained.
        seed: The first seed.
        seeds: Number of repetitions, each with the next seed.
        threads: CPU threads.
    """
    document = read_json(labels, kind="annotation file")
    common = ["--images", images, "--val-images", images, "--threads", threads]
    settings = (
        f'extends = "{recipe}"\nbatch = 8\nevaluations = 1\npatience = 0\nema = 0.97\n'
        f"frozen_stages = {frozen_stages}\nsizes_from_boxes = false\n"
        f'[[phases]]\nsize = "{size}"\n'
    )
    results = []
    for number in range(seed, seed + seeds):
        folder = out / f"seed-{number}"
        parts = _split(document, source, (first, pool, held_out), number)
        write_json(folder / "held-out.json", _document(document, parts[2]))

        def train(
            name: str, people: list[dict[str, Any]], start: object, folder: Path = folder
        ) -> float:
            write_json(folder / f"{name}.json", _document(document, people))
            (folder / f"{name}.toml").write_text(
                f"{settings}samples = {first_samples if name == 'first' else samples}\n"
            )
            arguments = ["--train", folder / f"{name}.json", "--val", folder / "held-out.json"]
            arguments += ["--start", start, "--out", folder / name, *common]
            _slimpose("train", folder / f"{name}.toml", *arguments)
            return _best_ap(folder / name)

        figures: dict[str, float] = {"first": train("first", parts[0], start)}
        ordered = _hardest(document, parts[1], images, folder / "first", threads)
        generator = np.random.default_rng(1000 + number)
        random = [parts[1][row] for row in generator.permutation(len(parts[1]))]
        shown = f"seed {number}: first AP {100 * figures['first']:.1f}"
        for name, people in (("active", ordered[:choose]), ("random", random[:choose])):
            best = folder / "first/best.safetensors"
            figures[name] = train(name, [*parts[0], *people], best)
            labeled = np.mean([one["num_keypoints"] for one in people])
            shown += f", {name} {100 * figures[name]:.1f} ({labeled:.1f} keypoints each)"
        results.append(figures)
        print(shown, flush=True)
    means = {name: float(np.mean([one[name] for one in results])) for name in results[0]}
    gains = [100 * (one["active"] - one["random"]) for one in results]
    print(
        f"{choose} chosen people: AP {100 * means['active']:.1f}, "
        f"random {100 * means['random']:.1f}; gain {np.mean(gains):+.1f} "
        f"({min(gains):+.1f} to {max(gains):+.1f} over {seeds} seeds)"
    )
    print(json.dumps({**machine.about(), "recipe": recipe, "start": start, "seeds": results}))


def _split(
    document: dict[str, Any], source: str, sizes: tuple[int, int, int], seed: int
) -> list[list[dict[str, Any]]]:
    """People of three sets, without a common original image."""
    people = [
        one
        for one in document["annotations"]
        if one.get("num_keypoints", 1) and (not source or one.get("source") == source)
    ]
    by_origin: dict[str, list[dict[str, Any]]] = {}
    for one in people:
        by_origin.setdefault(str(one.get("origin", one["image_id"])), []).append(one)
    origins = list(by_origin.values())
    if len(people) < sum(sizes):
        raise ValueError(f"there are {len(people)} people; expected at least {sum(sizes)}")
    order = np.random.default_rng(seed).permutation(len(origins))
    parts: list[list[dict[str, Any]]] = [[], [], []]
    rows = iter(order.tolist())
    for part, size in zip(parts, sizes, strict=True):
        while len(part) < size:
            part += origins[next(rows)]
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]


def _document(document: dict[str, Any], people: list[dict[str, Any]]) -> dict[str, Any]:
    used = {one["image_id"] for one in people}
    kept = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "keypoints")
    return {
        "images": [one for one in document["images"] if one["id"] in used],
        "annotations": [{key: one[key] for key in kept if key in one} for one in people],
        "categories": document["categories"],
    }


def _hardest(
    document: dict[str, Any], people: list[dict[str, Any]], images: Path, folder: Path, threads: int
) -> list[dict[str, Any]]:
    """The people of the pool, the hardest for the first model first."""
    model = folder / "model.onnx"
    _slimpose("export", folder / "best.safetensors", "--out", model)
    estimator = load(model, None, threads=threads).estimator
    names = {one["id"]: one["file_name"] for one in document["images"]}
    proposals: list[Proposal] = []
    for number, person in enumerate(people):
        x, y, width, height = person["bbox"]
        box = np.array([[x, y, x + width, y + height]], np.float32)
        proposals.append(
            propose(
                read_image(images / names[person["image_id"]]),
                lambda image, box=box: estimator(image, box),
                estimator,
                file_name=str(number),
            )
        )
    return [people[int(one.file_name)] for one, _ in hardest_first(proposals)]


def _best_ap(folder: Path) -> float:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [one["AP"] for one in map(json.loads, lines) if "AP" in one]
    if not found:
        raise ValueError(f"{folder}/metrics.jsonl has no AP; expected an evaluation of the run")
    return max(found)


def _slimpose(*arguments: object) -> None:
    try:
        slimpose_main([str(argument) for argument in arguments])
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"slimpose {arguments[0]} ended with {ended.code}") from ended


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
