"""Accuracy of the posture rule (``slimpose.events.posture``) on single images.

    python benchmarks/postures.py --annotations person_keypoints.json --images images/

``posture_labels.json`` has the annotation ids of people in 300 images of COCO val2017 whose posture
is clear, of 240 people with at least six labeled keypoints, drawn at random, and of 22 more whose
torso or box is nearly horizontal, for more who lie. The labels were made by eye from the images, by
the author of the rule (an AI model), before it was run. People who squat, kneel or jump, and those
that are hidden, have no label.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

import slimpose
from slimpose.events.posture import postures_of

LABELS = Path(__file__).with_name("posture_labels.json")


def main() -> None:
    """Print a row per true posture: how often each posture was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="mnv2")
    options = parser.parse_args()
    document = json.loads(options.annotations.read_text())
    labels = json.loads(LABELS.read_text())
    true = {number: posture for posture, numbers in labels.items() for number in numbers}
    files = {image["id"]: image["file_name"] for image in document["images"]}
    pipeline = slimpose.load(options.model, None)
    found: Counter[tuple[str, str]] = Counter()
    for annotation in document["annotations"]:
        if annotation["id"] not in true:
            continue
        x, y, width, height = annotation["bbox"]
        image = options.images / files[annotation["image_id"]]
        poses = pipeline(image, np.array([[x, y, x + width, y + height]], np.float32))
        found[true[annotation["id"]], postures_of(poses)[0]] += 1
    columns = ("standing", "sitting", "lying", "unknown")
    print(f"{'true':<10}{'people':>8}" + "".join(f"{name:>10}" for name in columns))
    for posture, numbers in labels.items():
        counts = [found[posture, name] for name in columns]
        print(f"{posture:<10}{len(numbers):>8}" + "".join(f"{count:>10}" for count in counts))
    right = sum(found[posture, posture] for posture in labels)
    decided = sum(count for (_, name), count in found.items() if name != "unknown")
    print(f"right: {right} of {decided} with a posture, {len(true)} people in all")


if __name__ == "__main__":
    main()
