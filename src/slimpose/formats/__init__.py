"""File formats: COCO annotations and results, OpenPose JSON, CSV, JSON lines, supervision."""
