"""What visitors give to the page besides good images: nothing is lost, everything is said."""

from __future__ import annotations

import base64
import re
import wave
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Error, Page, expect

from browser import needs_chromium
from slimpose.media.images import read_image
from web_page import PHOTOS, READY_MS, downloaded, open_photos, opened

pytestmark = [pytest.mark.browser, needs_chromium]
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
QUERY = "?model=mnv2"


def drop(page: Page, name: str, kind: str, data: bytes) -> bool:
    """Drop a file on the page; return whether the browser would leave the page for it."""
    return page.evaluate(
        """([name, type, text]) => {
            const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name, { type }));
            const options = { bubbles: true, cancelable: true, dataTransfer };
            const over = document.body.dispatchEvent(new DragEvent("dragover", options));
            return document.body.dispatchEvent(new DragEvent("drop", options)) || over;
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )


def test_dropped_files_are_opened_and_wrong_ones_are_reported(address: str) -> None:
    with opened(address, query=QUERY) as (page, _):
        assert not drop(page, "notes.txt", "text/plain", b"no image")
        expect(page.locator("#problem")).to_have_text(
            "notes.txt: not an image that this browser can decode (damaged, or too large?)"
        )
        assert not drop(page, "people.jpg", "image/jpeg", PHOTOS[0].read_bytes())
        expect(page.locator("#canvas")).to_have_attribute("data-frames", "1", timeout=READY_MS)
        expect(page.locator("#problem")).to_be_hidden()
        assert downloaded(page)["frames"][0]["source"] == "people.jpg"


def test_images_after_a_broken_one_are_done(address: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 not an image")
    with opened(address, query=QUERY) as (page, _):
        page.set_input_files("#file", [broken, PHOTOS[0], PHOTOS[1]])
        expect(page.locator("#status")).to_have_text("2 of 3 images", timeout=READY_MS)
        expect(page.locator("#problem")).to_contain_text("broken.jpg: not an image")
        sources = [frame["source"] for frame in downloaded(page)["frames"]]
    assert sources == [photo.name for photo in PHOTOS[:2]]


def test_videos_without_images_are_reported_by_name(address: str, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 not a video" * 9)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(bytes(16_000))
    (tmp_path / "sound.wav").rename(tmp_path / "sound.mp4")
    with opened(address, query=QUERY) as (page, _):
        for name in ("broken.mp4", "sound.mp4"):
            page.set_input_files("#file", tmp_path / name)
            expect(page.locator("#problem")).to_contain_text(
                f"{name}: not a video that this browser can play"
            )
            expect(page.locator("#pause")).to_be_disabled()
        page.set_input_files("#file", [PHOTOS[0], tmp_path / "sound.mp4"])
        expect(page.locator("#problem")).to_contain_text("one of them a video")
        open_photos(page, PHOTOS[:1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "there is none"), (CAMERA[:1], "permission denied; allow it")],
)
def test_camera_that_cannot_be_used_is_reported(
    address: str, arguments: tuple[str, ...], message: str
) -> None:
    with opened(address, *arguments, query=QUERY) as (page, _):
        page.click("#camera")
        expect(page.locator("#problem")).to_contain_text(f"the camera cannot be used: {message}")
        expect(page.locator("#camera")).to_have_text("Start camera")
        open_photos(page, PHOTOS[:1])


_KEEP_STREAMS = """
() => {
  const { mediaDevices } = navigator;
  const open = mediaDevices.getUserMedia.bind(mediaDevices);
  self.tracks = [];
  mediaDevices.getUserMedia = async (constraints) => {
    const stream = await open(constraints);
    self.tracks.push(...stream.getTracks());
    return stream;
  };
}
"""


def test_no_camera_stays_on_unseen(address: str) -> None:
    with opened(address, *CAMERA, query=QUERY) as (page, _):
        page.evaluate(_KEEP_STREAMS)
        for clicks in (2, 3):
            page.evaluate(f"for (let i = 0; i < {clicks}; i++) camera.click()")
            expect(page.locator("#camera")).to_have_text("Stop camera")
            expect(page.locator("#rate")).to_contain_text("frames/s", timeout=READY_MS)
            live = "self.tracks.filter((track) => track.readyState === 'live').length"
            assert page.evaluate(live) == 1
            page.click("#camera")
            expect(page.locator("#camera")).to_have_text("Start camera")
            assert page.evaluate(live) == 0
        expect(page.locator("#problem")).to_be_hidden()


def test_camera_that_is_unplugged_is_reported(address: str) -> None:
    with opened(address, *CAMERA, query=QUERY) as (page, _):
        page.evaluate(_KEEP_STREAMS)
        page.click("#camera")
        expect(page.locator("#canvas")).to_have_attribute(
            "data-frames", re.compile("."), timeout=READY_MS
        )
        page.evaluate("self.tracks[0].dispatchEvent(new Event('ended'))")
        expect(page.locator("#problem")).to_contain_text("the camera gives no more images")
        expect(page.locator("#camera")).to_have_text("Start camera")


def test_new_action_ends_the_one_before(address: str) -> None:
    with opened(address, query=QUERY) as (page, _):
        page.set_input_files("#file", PHOTOS * 3)
        page.set_input_files("#file", PHOTOS[1])
        expect(page.locator("#status")).to_have_text("1 of 1 images", timeout=READY_MS)
        page.wait_for_timeout(2000)
        frames = downloaded(page)["frames"]
        assert [frame["source"] for frame in frames] == [PHOTOS[1].name]


def test_download_names_the_model_that_was_used(address: str) -> None:
    with opened(address, query=QUERY) as (page, _):
        open_photos(page, PHOTOS[:1])
        page.select_option("#model", "hr")
        expect(page.locator("#status")).to_have_text("Ready", timeout=READY_MS)
        assert downloaded(page)["model"] == "mnv2"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?threads=many", "threads is NaN; expected a whole number"),
        ("?threads=0", "threads is 0; expected a whole number"),
        ("?backend=cuda", 'backend is "cuda"; expected wasm, webgpu or auto'),
        ("?model=yolo", 'no model is named "yolo"; expected one of hr, mnv2'),
    ],
)
def test_wrong_addresses_are_reported(address: str, query: str, message: str) -> None:
    with opened(address, query=query, is_ready=False) as (page, _):
        expect(page.locator("#problem")).to_contain_text(message)


def photo_of_size(path: Path, height: int, width: int) -> Path:
    """Write an image with the people of a photo in its lower right corner."""
    image = np.zeros((height, width, 3), np.uint8)
    photo = read_image(PHOTOS[0])[:, :, ::-1]
    rows, columns = min(height, photo.shape[0]), min(width, photo.shape[1])
    image[-rows:, -columns:] = photo[:rows, :columns]
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (9000, 9000), (30, 40_000)])
def test_images_of_any_size_are_processed(
    address: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    image = photo_of_size(tmp_path / "image.png", *size)
    with opened(address, query=QUERY) as (page, _):
        (frame,) = open_photos(page, [image])
    assert (frame["height"], frame["width"]) == size


def write_webm(path: Path, height: int, width: int) -> None:
    photo = cv2.resize(np.ascontiguousarray(read_image(PHOTOS[0])[:, :, ::-1]), (width, height))
    with av.open(str(path), "w") as written:
        stream = written.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(12):
            written.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.asarray(photo, np.uint8), format="bgr24")
                )
            )
        written.mux(stream.encode())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(241, 321), (33, 517), (720, 96)])
def test_videos_of_odd_sizes_are_followed(
    address: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    write_webm(tmp_path / "clip.webm", *size)
    with opened(address, query=QUERY) as (page, _):
        page.set_input_files("#file", tmp_path / "clip.webm")
        expect(page.locator("#canvas")).to_have_attribute(
            "data-frames", re.compile("."), timeout=READY_MS
        )
        frames = downloaded(page)["frames"]
        expect(page.locator("#problem")).to_be_hidden()
    assert {(frame["height"], frame["width"]) for frame in frames} == {size}


@pytest.mark.slow
def test_page_reloaded_while_it_loads(address: str) -> None:
    offline = "Failed to load resource: net::ERR_FAILED"
    with opened(address, query=QUERY, is_ready=False, allowed=offline) as (page, context):
        for wait_ms in (0, 50, 300, 900):
            page.wait_for_timeout(wait_ms)
            with suppress(Error):  # it reloads itself at that moment
                page.reload(wait_until="commit")
        expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        before = open_photos(page, PHOTOS[:1])
        context.set_offline(True)
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        assert open_photos(page, PHOTOS[:1]) == before
        page.select_option("#model", "hr")  # it was never loaded
        expect(page.locator("#problem")).to_contain_text("cannot be loaded")
        expect(page.locator("#model")).to_have_value("mnv2")
        page.evaluate("problem.hidden = true")
        assert open_photos(page, PHOTOS[:1]) == before
