"""The exported page in Debian's Chromium, served as a static host would."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

import slimpose
from browser import CHROMIUM, needs_chromium
from slimpose.measure.synthetic_video import extract_people, make_video
from slimpose.media.frame import Frame
from slimpose.runtime.detector import Detector
from slimpose.runtime.follower import Follower
from slimpose.runtime.models import resolve, shipped
from slimpose.runtime.session import Session
from slimpose.web.browser_runtime import runtime_files
from slimpose.web.folder import write_folder
from static_server import static_server
from web_page import PHOTOS, READY_MS, downloaded, open_photos, opened
from web_tools import needs_node, node_modules

pytestmark = [pytest.mark.browser, needs_chromium]
DEVELOPER_PHOTOS = Path("/work/shared/data/dev/images")
SHOWN_SCORE = 0.3
"""Keypoints with lower scores are not drawn: where there is no clear peak, rounding decides."""


def points_of(people: list[dict[str, Any]]) -> np.ndarray:
    """Return x, y and score of each keypoint."""
    return np.array(
        [
            [(point["x"], point["y"], point["score"]) for point in person["keypoints"].values()]
            for person in people
        ]
    )


def assert_points_of_predict(frames: list[dict[str, Any]], photos: list[Path]) -> None:
    """Compare the page's points with those of ``slimpose.load()``, which predict writes."""
    pipeline = slimpose.load()
    far = []
    for frame, photo in zip(frames, photos, strict=True):
        poses = pipeline(photo)
        assert frame["source"] == photo.name
        assert len(frame["people"]) == len(poses), photo.name
        if not len(poses):
            continue
        found = points_of(frame["people"])
        distances = np.linalg.norm(found[..., :2] - poses.points_image, axis=2)
        shown = poses.scores >= SHOWN_SCORE
        far.append(distances[~shown] > 0.1)
        assert distances[shown].max(initial=0) < 0.1, photo.name
        np.testing.assert_allclose(found[..., 2], poses.scores, atol=0.02)
        boxes = np.array([person["box"] for person in frame["people"]])
        np.testing.assert_allclose(boxes, poses.boxes_image, atol=0.01)
    assert np.concatenate(far).mean() < 0.05


def test_photos_have_the_points_of_predict(address: str) -> None:
    with opened(address) as (page, _):
        frames = open_photos(page, PHOTOS)
        assert page.evaluate("crossOriginIsolated")  # by the service worker
    assert_points_of_predict(frames, PHOTOS)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not DEVELOPER_PHOTOS.is_dir(), reason=f"needs {DEVELOPER_PHOTOS}")
def test_many_photos_have_the_points_of_predict(address: str) -> None:
    photos = sorted(DEVELOPER_PHOTOS.glob("*.jpg"))[:20]
    with opened(address) as (page, _):
        frames = open_photos(page, photos)
    assert_points_of_predict(frames, photos)


# a camera

_KEEP_FRAMES = """
() => {
  const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
  self.framesRead = [];
  OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...place) {
    const pixels = read.apply(this, place);
    self.framesRead.push(pixels);
    return pixels;
  };
}
"""
_FRAME = """
(index) => {
  const { width, height, data } = self.framesRead[index];
  let text = "";
  for (let start = 0; start < data.length; start += 32768) {
    text += String.fromCharCode(...data.subarray(start, start + 32768));
  }
  return [width, height, btoa(text)];
}
"""


def write_camera_video(path: Path) -> None:
    """Write people who move, in the uncompressed format of Chromium's fake camera."""
    width, height = 320, 180
    detector = Detector(Session(resolve("detector")))
    video = make_video(extract_people(PHOTOS[0].parent, detector), 3)
    with path.open("wb") as written:
        written.write(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode())
        for index in range(len(video.jpegs)):
            small = cv2.resize(video.frame(index), (width, height), interpolation=cv2.INTER_AREA)
            written.write(b"FRAME\n" + cv2.cvtColor(small, cv2.COLOR_RGB2YUV_I420).tobytes())


def test_camera_gives_the_ids_of_the_follower(address: str, tmp_path: Path) -> None:
    write_camera_video(tmp_path / "camera.y4m")
    arguments = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}",
    )
    with opened(address, *arguments, query="?model=mnv2") as (page, _):
        page.evaluate(_KEEP_FRAMES)
        page.click("#camera")
        expect(page.locator("#canvas")).to_have_attribute(
            "data-frames", re.compile(r"^(2[5-9]|[3-9]\d|\d{3,})$"), timeout=READY_MS
        )
        expect(page.locator("#rate")).to_contain_text("frames/s")
        page.click("#camera")
        expect(page.locator("#camera")).to_have_text("Start camera")
        frames = downloaded(page)["frames"]
        pixels = [page.evaluate(_FRAME, index) for index in range(len(frames))]
    follower = Follower(slimpose.load("mnv2"))
    expected_ids, ids, apart_px = [], [], []
    for frame, (width, height, text) in zip(frames, pixels, strict=True):
        image = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
        (poses,) = follower.step(
            [Frame(image=np.ascontiguousarray(image[..., :3]), timestamp_s=frame["time_s"])]
        )
        expected_ids.append(poses.ids.tolist())
        ids.append([person["track_id"] for person in frame["people"]])
        found = points_of(frame["people"])
        if len(poses) == len(found) and len(poses):
            shown = poses.scores >= SHOWN_SCORE
            distances = np.linalg.norm(found[..., :2] - poses.points_image, axis=2)
            apart_px.extend(distances[shown])
    assert ids == expected_ids
    # Boxes come from earlier frames: a difference goes on, and of two equal peaks either may win.
    assert np.mean(np.array(apart_px) < 1) > 0.98
    assert len(ids[-1]) >= 2


# without a network, and without helpers


def test_page_answers_while_models_run(address: str) -> None:
    """Models run in a thread of their own, so that the page's own thread stays free."""
    with opened(address) as (page, _):
        open_photos(page, PHOTOS[:2])
        page.evaluate(
            """() => {
                window.gaps_ms = []
                let last = performance.now()
                setInterval(() => { const now = performance.now()
                                    window.gaps_ms.push(now - last); last = now }, 4)
            }"""
        )
        open_photos(page, PHOTOS)
        gaps_ms = page.evaluate("() => window.gaps_ms")
    assert max(gaps_ms) < sum(gaps_ms) / len(PHOTOS) / 2, "shorter than half of an image's time"


def test_page_works_without_a_network_after_loading(address: str) -> None:
    with opened(address) as (page, context):
        before = open_photos(page, PHOTOS[:1])
        context.set_offline(True)
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        assert open_photos(page, PHOTOS[:1]) == before
        assert page.evaluate("crossOriginIsolated")


def test_server_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    models = shipped()
    write_folder(tmp_path / "site", [models["mnv2"]], models["detector"], runtime_files())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        with static_server(tmp_path / "site") as address:
            page.goto(address)
            expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        page.goto(address)
        expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        assert len(open_photos(page, PHOTOS[:1])[0]["people"]) > 0
        browser.close()


def test_without_service_workers_one_thread_computes(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(service_workers="block").new_page()
        page.goto(f"{address}?model=mnv2")
        expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        expect(page.locator("#backend")).to_have_text("WASM, 1 thread")
        assert not page.evaluate("crossOriginIsolated")
        assert len(open_photos(page, PHOTOS[:1])[0]["people"]) > 0
        browser.close()


# controls


def test_model_is_changed_and_errors_are_shown(address: str, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    with opened(address) as (page, _):
        page.select_option("#model", "mnv2")
        expect(page.locator("#status")).to_have_text("Ready")
        page.set_input_files("#file", PHOTOS[:1])
        expect(page.locator("#canvas")).to_have_attribute("data-frames", "1")
        assert downloaded(page)["model"] == "mnv2"
        page.set_input_files("#file", tmp_path / "broken.jpg")
        expect(page.locator("#problem")).to_contain_text("broken.jpg: not an image")
        page.set_input_files("#file", PHOTOS[:1])
        expect(page.locator("#problem")).to_be_hidden()


def test_keyboard_reaches_every_control(address: str) -> None:
    with opened(address) as (page, _):
        reached = []
        for _step in range(9):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || 'skip'"))
        assert reached[:2] == ["skip", "camera"]
        assert {"file", "model", "mirror", "smooth", "ids"} <= set(reached)
        page.focus("#mirror")
        page.keyboard.press("Space")
        expect(page.locator("#mirror")).to_be_checked()


@needs_node
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(address: str, scheme: Any) -> None:
    axe = (node_modules() / "axe-core" / "axe.min.js").read_text()
    with opened(address) as (page, _):
        page.emulate_media(color_scheme=scheme)
        open_photos(page, PHOTOS[:1])
        result = page.evaluate(f"async () => {{ {axe}; return await self.axe.run(); }}")
    assert [violation["id"] for violation in result["violations"]] == []
    assert len(result["passes"]) > 15


def test_page_demands_a_strict_content_security_policy(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        # It loads once more, under its service worker.
        expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        policy = page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
        assert policy is not None
        assert "unsafe-inline" not in policy
        assert "default-src 'none'" in policy
        with page.expect_console_message(lambda message: "Content Security" in message.text):
            page.evaluate(
                """() => {
                    const script = document.createElement("script");
                    script.textContent = "self.wasRun = true";
                    document.head.append(script);
                }"""
            )
        assert not page.evaluate("'wasRun' in self")
        browser.close()
