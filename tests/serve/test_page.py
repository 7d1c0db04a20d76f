"""The page in a real browser."""

from __future__ import annotations

import base64
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import slimpose
from browser import chromium, needs_chromium, page_of
from fake_camera import FakeCamera, fake_camera
from rtsp_server import rtsp_server
from run_cli import start, write_models
from slimpose.areas import Line, Zone
from slimpose.media.images import read_image
from slimpose.poses import Poses
from walkers import poses_of
from web_server import WebServer, frame_result, state_of, web_server

pytestmark = [pytest.mark.browser, needs_chromium]
PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def canvas_pixels(page: Page, camera: int = 0) -> np.ndarray:
    """Return what a camera's canvas shows, RGB (height, width, 3)."""
    width, height, values = page.evaluate(
        """(camera) => {
            const canvas = document.querySelectorAll("canvas")[camera];
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let text = "";
            for (const value of data.data) text += String.fromCharCode(value);
            return [canvas.width, canvas.height, btoa(text)];
        }""",
        camera,
    )
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)[..., :3]


def show(page: Page, server: WebServer, result: Any) -> None:
    """Publish a frame and wait until the canvas shows it."""
    server.shared.frames.publish([result])
    frame = str(result.frame_index)
    expect(page.locator("canvas").nth(result.camera)).to_have_attribute("data-frame", frame)


def distance_to_limbs(shape: tuple[int, int], poses: Poses, scale: float) -> np.ndarray:
    """Return each pixel's distance to the nearest limb."""
    mask = np.full(shape, 255, np.uint8)
    for points in (poses.points_image + 0.5) * scale - 0.5:
        for a, b in poses.skeleton.limb_indices:
            ends = [tuple(round(16 * float(value)) for value in points[end]) for end in (a, b)]
            cv2.line(mask, ends[0], ends[1], (0,), 1, shift=4)
    return cv2.distanceTransform(mask, cv2.DIST_L2, 5)


@pytest.mark.parametrize("size", [(300, 400), (1080, 1920)], ids=["as it is", "scaled"])
def test_skeletons_lie_where_the_poses_are(browser: Browser, size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 80, np.uint8)
    centers = [(0.3 * width, 0.5 * height), (0.7 * width, 0.5 * height)]
    poses = poses_of(centers, height_px=0.7 * height)
    with web_server() as server, page_of(browser) as page:
        page.goto(server.url)
        show(page, server, frame_result(image, poses, index=1))
        pixels = canvas_pixels(page).astype(int)
    scale = pixels.shape[1] / width
    changed = np.abs(pixels - 80).max(axis=2) > 25
    joints = np.round((poses.points_image.reshape(-1, 2) + 0.5) * scale - 0.5).astype(int)
    assert changed[joints[:, 1], joints[:, 0]].all()
    distances = distance_to_limbs(changed.shape, poses, scale)
    assert changed[distances < 1].mean() > 0.99
    assert distances[changed].max() < 14
    assert not changed[distances > 14].any()


def test_joints_of_low_scores_are_not_drawn(browser: Browser) -> None:
    image = np.full((300, 400, 3), 80, np.uint8)
    with web_server() as server, page_of(browser) as page:
        page.goto(server.url)
        show(page, server, frame_result(image, poses_of([(200, 150)], score=0.2), index=1))
        assert np.abs(canvas_pixels(page).astype(int) - 80).max() < 10


def test_state_people_and_counts_are_shown(browser: Browser) -> None:
    zone = Zone(name="counter", points=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
    line = Line(name="door", start=(0.6, 0.0), end=(0.6, 1.0))
    with web_server(areas=[[zone, line], []], cameras=2) as server, page_of(browser) as page:
        server.shared.cameras = [
            state_of("hall", people=2, fps=12.3, dropped=7, connections=3),
            state_of("yard", state="waiting", problem="the host does not answer", people=0),
        ]
        page.goto(server.url)
        cards = page.locator("article")
        expect(cards).to_have_count(2)
        expect(page.locator("#summary")).to_have_text("1 of 2 cameras live, 2 people")
        expect(cards.nth(0).locator(".pill")).to_have_text("live")
        expect(cards.nth(0).locator(".fps")).to_have_text("12.3 fps")
        expect(cards.nth(0).locator(".reopened")).to_have_text("2x")
        expect(cards.nth(0).locator(".counts li")).to_have_text(["counter: 0", "door: 0 in, 0 out"])
        expect(cards.nth(1).locator(".pill")).to_have_text("lost")
        expect(cards.nth(1).locator(".overlay")).to_have_text("the host does not answer")
        image = np.full((300, 400, 3), 80, np.uint8)
        show(page, server, frame_result(image, index=1))
        pixels = canvas_pixels(page).astype(int)
        blue, gray = pixels[150, 100], pixels[150, 350]
        assert blue[2] - blue[0] > 15  # the zone
        assert np.abs(gray - 80).max() < 10
        assert np.abs(pixels[280, 238:243] - 80).max() > 60  # the line


def test_postures_are_written_next_to_the_ids(browser: Browser) -> None:
    """The text of a person's label is wider with the posture."""
    image, poses = np.full((300, 400, 3), 80, np.uint8), poses_of([(200, 150)], ids=[7])
    widths = []
    for postures in (False, True):
        with web_server(postures=postures) as server, page_of(browser) as page:
            results = [frame_result(image, poses, index=index) for index in range(3)]
            server.shared.events.add(results)  # a second apart
            page.goto(server.url)
            show(page, server, results[-1])
            above_head = canvas_pixels(page)[75:95].astype(int)
            label = (np.abs(above_head - 80).max(axis=2) > 40).any(axis=0)
            widths.append(int(label.sum()))
    assert widths[1] > widths[0] + 40


def test_keyboard_enlarges_and_changes_settings(browser: Browser) -> None:
    with web_server(cameras=3) as server, page_of(browser) as page:
        page.goto(server.url)
        cards = page.locator("article")
        expect(cards).to_have_count(3)
        page.keyboard.press("2")
        expect(page.locator("article:visible")).to_have_count(1)
        expect(cards.nth(1)).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(cards.nth(2)).to_be_visible()
        expect(cards.nth(1)).not_to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("article:visible")).to_have_count(3)
        page.keyboard.press("ArrowLeft")
        expect(cards.nth(1)).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("article:visible")).to_have_count(1)
        page.keyboard.press("Escape")
        page.locator("#open-settings").focus()
        page.keyboard.press("Enter")
        page.locator("#threshold").focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        page.locator("#smooth").focus()
        page.keyboard.press("Space")
        page.locator("#camera-switches input").nth(1).focus()
        page.keyboard.press("Space")
        wait_for(lambda: not server.shared.settings.enabled[1])
        assert server.shared.settings.enabled == (True, False, True)
        assert server.shared.settings.score_threshold == pytest.approx(0.35)
        assert not server.shared.settings.smooth
        page.keyboard.press("Escape")
        expect(page.locator("#settings")).not_to_be_visible()


def test_page_fits_a_phone(browser: Browser) -> None:
    name = "rtsp://***@camera-with-a-long-name.example.org:8554/streams/main"
    with web_server(cameras=2) as server, page_of(browser, width=360, height=640) as page:
        server.shared.cameras = [state_of(name), state_of(name)]
        page.goto(server.url)
        expect(page.locator("article")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        small = page.locator("button:visible, a.button:visible").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().height).filter(h => h < 40)"
        )
        assert small == []
        page.click("#open-settings")
        box = page.locator("#settings").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


@pytest.mark.parametrize("width", [1280, 390])
def test_zone_drawn_on_the_page_becomes_text_for_the_file(browser: Browser, width: int) -> None:
    """By keys on a computer, by buttons on a phone."""
    with web_server() as server, page_of(browser, width=width) as page:
        page.goto(server.url)
        show(page, server, frame_result(np.full((300, 400, 3), 80, np.uint8), index=1))
        if width > 1000:
            page.keyboard.press("1")
            page.keyboard.press("z")
        else:
            expect(page.locator(".draw")).not_to_be_visible()
            page.click(".enlarge")
            page.click(".draw")
            expect(page.locator(".draw")).to_have_text("Cancel")
        box = page.locator("canvas").bounding_box()
        assert box is not None
        scale = min(box["width"] / 400, box["height"] / 300)
        left = box["x"] + (box["width"] - 400 * scale) / 2
        top = box["y"] + (box["height"] - 300 * scale) / 2
        for x, y in ((0.1, 0.2), (0.6, 0.2), (0.6, 0.8), (0.1, 0.2)):
            page.mouse.click(left + x * 400 * scale, top + y * 300 * scale)
        text = page.locator("#area-text").input_value()
    assert text.startswith("[cameras.NAME.zones.zone-1]\npoints = [[")  # "camera 0" needs quotes
    found = [float(number) for number in re.findall(r"\d+\.\d+", text)]
    np.testing.assert_allclose(found, [0.1, 0.2, 0.6, 0.2, 0.6, 0.8], atol=0.01)


def test_labels_are_as_large_in_an_enlarged_image(browser: Browser) -> None:
    """An enlarged 4:3 image has bars at its sides, which do not count as its width."""
    image, poses = np.full((300, 400, 3), 80, np.uint8), poses_of([(200, 150)], ids=[88])
    with web_server() as server, page_of(browser, width=1600, height=900) as page:
        page.goto(server.url)
        page.keyboard.press("1")
        show(page, server, frame_result(image, poses, index=1))
        box = page.locator("canvas").bounding_box()
        pixels = canvas_pixels(page).astype(int)
    assert box is not None
    assert box["width"] > 1.5 * box["height"]
    above_head = np.abs(pixels[:98] - 80).max(axis=2) > 40
    height = np.flatnonzero(above_head.any(axis=1))[[0, -1]] @ [-1, 1] * box["height"] / 300
    assert 14 <= height <= 30


def test_wrong_token_sees_nothing(browser: Browser) -> None:
    with web_server(token=TOKEN) as server, page_of(browser) as page:
        sent: list[str] = []
        page.on("websocket", lambda socket: sent.append(socket.url))
        page.goto(server.url)
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_have_text("the token is wrong")
        assert "camera" not in page.content()
        assert sent == []
        assert page.context.cookies() == []
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("article")).to_have_count(1)
        assert len(sent) == 1
        assert page.evaluate("document.cookie") == ""  # scripts cannot read it


def test_server_that_comes_back_is_shown_again(browser: Browser) -> None:
    with page_of(browser) as page:
        with web_server() as server:
            page.goto(server.url)
            expect(page.locator("article")).to_have_count(1)
        expect(page.locator("#summary")).to_have_text("The server does not answer; trying again")
        expect(page.locator(".overlay")).to_have_text("no connection to the server")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def serve(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start ``slimpose serve`` on a free port; return it and its address."""
    process = start("serve", *arguments, "--port", "0", folder=folder)
    assert process.stderr is not None
    address = re.search(r"http://\S+", process.stderr.readline())
    assert address is not None, process.communicate()
    return process, address[0]


def test_camera_with_real_models(browser: Browser, tmp_path: Path) -> None:
    """The photo of a camera: skeletons are drawn where the library finds them."""
    photo = sorted(PHOTOS.glob("*.jpg"))[0]
    poses = slimpose.load()(photo)
    data = photo.read_bytes()
    with fake_camera(FakeCamera(frame=lambda _: data, fps=5.0)) as camera:
        process, address = serve(tmp_path, camera.url)
        try:
            with page_of(browser) as page:
                page.goto(address)
                canvas = page.locator("canvas")
                expect(canvas).to_have_attribute("data-frame", re.compile(r"\d+"))
                people = page.locator(".people")
                expect(people).to_have_text(re.compile(r"[1-9]\d* (person|people)"))
                page.wait_for_timeout(1500)
                shown = canvas_pixels(page).astype(int)
        finally:
            process.terminate()
            process.communicate(timeout=60)
    image = read_image(photo).astype(int)
    assert shown.shape == image.shape
    changed = np.abs(shown - image).max(axis=2) > 60
    best = poses.filter(min_score=0.5)
    assert len(best) > 0
    sure = best.scores > 0.5
    joints = np.round(best.points_image[sure]).astype(int)
    joints = np.clip(joints, 0, [image.shape[1] - 1, image.shape[0] - 1])
    near = cv2.dilate(changed.astype(np.uint8), np.ones((7, 7), np.uint8))
    assert near[joints[:, 1], joints[:, 0]].mean() > 0.95
    assert changed.mean() < 0.2


def test_killed_rtsp_server_shows_as_dead_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    with rtsp_server() as server:
        process, address = serve(tmp_path, server.url(), *options)
        try:
            with page_of(browser) as page:
                page.goto(address)
                pill = page.locator(".pill")
                expect(pill).to_have_text("live", timeout=60_000)
                expect(page.locator("canvas")).to_have_attribute("data-frame", re.compile(r"\d+"))
                server.kill()
                expect(pill).to_have_text("lost", timeout=60_000)
                server.start()
                expect(pill).to_have_text("live", timeout=60_000)
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0


def test_killed_camera_shows_as_dead_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    with fake_camera() as camera:
        process, address = serve(tmp_path, camera.url, *options)
        try:
            with page_of(browser) as page:
                page.goto(address)
                pill, overlay = page.locator(".pill"), page.locator(".overlay")
                expect(pill).to_have_text("live")
                camera.is_up = False
                expect(pill).to_have_text("lost")
                expect(overlay).to_be_visible()
                expect(page.locator("#summary")).to_have_text("0 of 1 cameras live, 0 people")
                camera.is_up = True
                expect(pill).to_have_text("live")
                expect(overlay).not_to_be_visible()
                expect(page.locator(".reopened")).to_have_text("1x")
        finally:
            process.terminate()
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
