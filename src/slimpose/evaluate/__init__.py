"""Accuracy as the field measures it: COCO keypoint AP and person-box AP, by pycocotools."""
