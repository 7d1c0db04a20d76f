"""Accuracy evaluation: COCO keypoint AP and person-box AP by pycocotools; error analysis."""
