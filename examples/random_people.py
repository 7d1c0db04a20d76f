"""Write a tiny COCO keypoints file of random people, to try training without data."""

import json
from pathlib import Path

import cv2
import numpy as np

from slimpose import COCO17


def write_random_people(folder: Path, count: int = 4) -> Path:
    """Write noise images and a COCO file with one person at random keypoints in each."""
    rng, images, people = np.random.default_rng(0), [], []
    for i in range(count):
        noise = rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), noise)
        images.append({"id": i, "file_name": f"{i}.png", "height": 96, "width": 96})
        keypoints = np.insert(rng.uniform(20, 76, (17, 2)), 2, 2, axis=1)  # x, y, 2: visible
        person = {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 76, 76]}
        people.append({**person, "keypoints": keypoints.ravel().tolist(), "num_keypoints": 17})
    category = {"id": 1, "name": "person", "keypoints": COCO17.joints, "skeleton": []}
    document = {"images": images, "annotations": people, "categories": [category]}
    path = folder / "people.json"
    path.write_text(json.dumps(document))
    return path
