"""Small COCO documents, as Python objects."""

from __future__ import annotations

from typing import Any

from slimpose.skeleton import COCO17

CocoDocument = dict[str, Any]


def coco_document() -> CocoDocument:
    """Return one image of 64x48 pixels (width x height) with one person, all 17 joints visible."""
    keypoints = [value for joint in range(17) for value in (12.0 + joint, 10.0 + joint, 2)]
    return {
        "images": [{"id": 7, "file_name": "street.png", "height": 48, "width": 64}],
        "annotations": [
            {
                "id": 70,
                "image_id": 7,
                "category_id": 1,
                "bbox": [10.0, 8.0, 30.0, 32.0],
                "area": 960.0,
                "iscrowd": 0,
                "num_keypoints": 17,
                "keypoints": keypoints,
            }
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": [[1, 2]]}
        ],
    }
