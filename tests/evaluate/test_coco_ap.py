"""COCO AP: equal to that of pycocotools run on the files themselves."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from slimpose.evaluate.coco_ap import average_precision
from slimpose.formats import coco
from slimpose.skeleton import COCO17


def random_people(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO document of images with people, some crowds or unlabeled, and results for them.

    The results are near to and far from the people.
    """
    rng = np.random.default_rng(seed)
    people: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    images = [
        {"id": 3 * i, "file_name": f"{i}.png", "height": 400, "width": 400}
        for i in range(rng.integers(1, 5))
    ]
    for image in images:
        for _ in range(rng.integers(0, 5)):
            height = float(rng.integers(20, 300))
            box = [*map(float, rng.integers(0, 100, 2)), height / 2, height]
            # halves are exact in single precision
            points = np.round(2 * (box[:2] + rng.random((17, 2)) * box[2:])) / 2
            visibility = rng.integers(0, 3, 17) * (rng.random() < 0.85)
            labels = np.concatenate([points, visibility[:, None]], axis=1)
            of_image = {"image_id": image["id"], "category_id": 1}
            person = of_image | {"id": 10 + len(people), "bbox": box}
            person |= {"area": float(round(0.3 * height**2)), "iscrowd": int(rng.random() < 0.1)}
            person |= {"num_keypoints": int((visibility > 0).sum())}
            people.append(person | {"keypoints": labels.ravel().tolist()})
            for _ in range(rng.integers(0, 3)):
                predicted = points + rng.normal(0, 0.15 * rng.random() * height, (17, 2))
                triples = np.concatenate([predicted.round(3), rng.random((17, 1)).round(3)], axis=1)
                record = {"keypoints": triples.ravel().tolist(), "score": float(rng.random())}
                results.append(of_image | record)
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}]
    return {"info": {}, "images": images, "annotations": people, "categories": categories}, results


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_average_precision_equals_pycocotools_on_the_files(seed: int) -> None:
    document, records = random_people(seed)
    if not records:
        return
    with TemporaryDirectory() as folder:
        truth, results = Path(folder) / "truth.json", Path(folder) / "results.json"
        truth.write_text(json.dumps(document))
        results.write_text(json.dumps(records))
        with contextlib.redirect_stdout(io.StringIO()):
            ground = COCO(str(truth))
            evaluation = COCOeval(ground, ground.loadRes(str(results)), "keypoints")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        ours = average_precision(coco.read(truth, keypoints=True), records, kind="keypoints")
    np.testing.assert_allclose(list(ours.values()), evaluation.stats, atol=1e-12)
