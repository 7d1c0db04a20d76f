from pathlib import Path

import pytest

from drawn_person import drawn_person
from slimpose.measure.synthetic_video import (
    extract_people,
    make_video,
)
from slimpose.runtime.detector import Detector
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.runtime.session import Session
from synthetic_models import write_detector_model

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.mark.parametrize("people", [1, 2, 5, 10, 13])
def test_video_shows_the_number_of_people_inside_the_frame(people: int) -> None:
    video = make_video([drawn_person()], people, frames=3)
    assert video.frame(0).shape == video.frame(4).shape == (720, 1280, 3)
    for boxes in video.boxes_image:
        assert boxes.shape == (people, 4)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= (1280, 720)).all()
        assert (boxes[:, 2:] - boxes[:, :2] > 20).all()
    assert people == 1 or (video.boxes_image[0] != video.boxes_image[1]).any()
    with pytest.raises(ValueError, match="a video of 0 people"):
        make_video([drawn_person()], 0)


def test_people_are_extracted_from_photos_tallest_first(tmp_path: Path) -> None:
    assert sample_photos_folder() == PHOTOS
    detector = write_detector_model(tmp_path / "detector.onnx")
    people = extract_people(PHOTOS, Detector(Session(detector, threads=1), score_threshold=0.0))
    for patch in people:
        height, width = patch.rgb.shape[:2]
        assert (patch.box >= -1).all()
        assert (patch.box <= (width, height, width, height)).all()
    heights = [len(patch.rgb) for patch in people]
    assert heights == sorted(heights, reverse=True)
    with pytest.raises(NotADirectoryError, match="no image folder"):
        extract_people(tmp_path / "nothing", Detector(Session(detector, threads=1)))
