"""Follow people in a camera or a video file; print a track id and a wrist for each person.

python examples/camera.py 0            # the first camera; Ctrl-C ends
python examples/camera.py clip.mp4     # a video file
"""

import sys
import time

import cv2

import slimpose


def main(source: str) -> None:
    """Read frames until the source ends."""
    is_camera = source.isdecimal()
    capture = cv2.VideoCapture(int(source) if is_camera else source)
    if not capture.isOpened():
        raise SystemExit(f"cannot open {source}; expected a camera's number or a video file")
    fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
    follower = slimpose.Follower(slimpose.load(), detect_every=4)
    number = 0
    while True:
        has_frame, bgr = capture.read()
        if not has_frame:
            break
        timestamp_s = time.monotonic() if is_camera else number / fps
        frame = slimpose.Frame(image=bgr[:, :, ::-1], timestamp_s=timestamp_s)
        (poses,) = follower.step([frame])
        wrist = poses.skeleton.joints.index("right_wrist")
        for track, (x, y) in zip(poses.ids, poses.points_image[:, wrist], strict=True):
            print(f"frame {number}  person {track}  right wrist {x:.1f} {y:.1f}", flush=True)
        number += 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
