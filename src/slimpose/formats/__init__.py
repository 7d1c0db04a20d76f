"""Files of the field: COCO annotations and results, OpenPose JSON, CSV."""
