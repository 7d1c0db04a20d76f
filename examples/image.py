"""Find the people in one image, print their keypoints and save a drawing.

python examples/image.py examples/photos/000000544444.jpg poses.png
"""

import sys

import cv2

import slimpose


def main(source: str, drawing: str) -> None:
    """Estimate, print and draw."""
    image = cv2.imread(source)
    if image is None:
        raise SystemExit(f"cannot read {source}")
    image = image[:, :, ::-1]  # OpenCV's BGR to RGB

    estimate = slimpose.load()  # opens the shipped detector and pose model
    poses = estimate(image)

    for points, scores in zip(poses.points_image, poses.scores, strict=True):
        for joint, (x, y), score in zip(poses.skeleton.joints, points, scores, strict=True):
            print(f"{joint:15} x {x:7.1f}  y {y:7.1f}  score {score:.2f}")
        print()
    if not cv2.imwrite(drawing, slimpose.draw_poses(image, poses)[:, :, ::-1]):
        raise SystemExit(f"cannot write {drawing}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
