from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.media.addresses import SourceError, parse, redacted


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://10.0.0.5:554/stream1", "rtsp://10.0.0.5:554/stream1"),
        ("rtsp://admin:geheim@10.0.0.5/stream1", "rtsp://***@10.0.0.5/stream1"),
        # The user name is half of a login.
        ("rtsp://admin@10.0.0.5/stream1", "rtsp://***@10.0.0.5/stream1"),
        # @ / ? # in the password, which should have been percent-encoded.
        ("http://u:p@ss@host:81/video", "http://***@host:81/video"),
        ("http://u:pa/ss@host/video", "http://***@host/video"),
        ("http://u:pa?ss@host/video", "http://***@host/video"),
        ("http://u:pa#ss@host/video", "http://***@host/video"),
        # Too much rather than too little.
        ("http://host/video?mail=a@b.c", "http://***@b.c"),
        ("http://[fe80::1]:81/a", "http://[fe80::1]:81/a"),
        ("http://u:p@[fe80::1]:81/a", "http://***@[fe80::1]:81/a"),
        ("http://host/v?token=abc&width=640", "http://host/v?token=***&width=640"),
        ("http://host/v?width=640&Pwd=abc;x=1", "http://host/v?width=640&Pwd=***;x=1"),
        ("https://host/live.m3u8?api_key=abc#t", "https://host/live.m3u8?api_key=***#t"),
        (
            "http://host/cgi?loginuse=admin&loginpas=abc",
            "http://host/cgi?loginuse=***&loginpas=***",
        ),
        ("http://host/v?X-Amz-Signature=abc", "http://host/v?X-Amz-Signature=***"),
        ("rtsp://host/user=admin_password=abc_channel=1.sdp?real", "rtsp://host/user=***?real"),
        ("RTSP://admin:geheim@host/", "RTSP://***@host/"),
    ],
)
def test_login_and_token_are_hidden(address: str, expected: str) -> None:
    assert redacted(address) == expected
    text = f"cannot open '{address}', {address}"
    assert redacted(text) == f"cannot open '{expected}', {expected}"


@pytest.mark.parametrize(
    "text", ["", "no address", "a@b.c", "user:pass@host without a scheme", "C:\\videos\\a.mp4"]
)
def test_text_without_an_address_is_unchanged(text: str) -> None:
    assert redacted(text) == text


SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\"<>"),
    min_size=4,
    max_size=20,
).map(lambda text: f"S3{text}")


@given(SECRETS, SECRETS, st.sampled_from(["rtsp", "http", "https"]))
def test_any_password_is_hidden(user: str, password: str, scheme: str) -> None:
    address = f"{scheme}://{user}:{password}@camera.local/path"
    assert redacted(address) == f"{scheme}://***@camera.local/path"


@given(st.text(st.sampled_from("abcXYZ019._-~%+"), min_size=4).map(lambda text: f"S3{text}"))
def test_any_token_is_hidden(token: str) -> None:
    parameters = "token access_token password pwd api-key sig auth session_id"
    for parameter in parameters.split():
        assert token not in redacted(f"http://camera.local/v?a=1&{parameter}={token}&b=2")


def test_target_of_an_address_is_never_printed() -> None:
    address = parse("rtsp://admin:geheim@host/x")
    assert "geheim" not in repr(address)
    assert "geheim" not in str(address)
    assert "geheim" not in address.redact(
        "error at rtsp://admin:geheim@host/x and rtsp://admin:geheim@other/y"
    )


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("0", "camera", "camera 0"),
        ("007", "camera", "camera 7"),
        ("/dev/null", "camera", "/dev/null"),  # any character device
        ("rtsp://u:p@h/x", "network", "rtsp://***@h/x"),
        (" HTTPS://h/x ", "network", "HTTPS://h/x"),
        (__file__, "file", __file__),
    ],
)
def test_source_is_a_camera_a_stream_or_a_file(source: str, kind: str, name: str) -> None:
    assert (parse(source).kind, parse(source).name) == (kind, name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.mp4", "missing.mp4: no such file; expected a camera number, rtsp://"),
        ("/", "/: a folder; expected a camera number, an address or a video file"),
        (
            "ftp://u:geheim@h/x",
            "ftp://***@h/x: cannot open ftp://; expected rtsp, rtsps, http, https, or a file",
        ),
        ("rtsp:///x?token=geheim", "rtsp:///x?token=***: this address has no host"),
        ("-1", "-1: no such file"),
    ],
)
def test_invalid_source_is_rejected_without_its_password(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=re.escape(message)) as error:
        parse(source)
    assert "geheim" not in str(error.value)
