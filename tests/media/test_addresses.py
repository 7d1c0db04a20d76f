from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.media.addresses import SourceError, parse, parse_all, redacted


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOOR", " rtsp://admin:geheim@door/1 ")
    monkeypatch.setenv("BAD", "admin:geheim@door")
    monkeypatch.setenv("NO_HOST", "rtsp:///x?token=geheim")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("LONG", f"admin:geheim@door/{'x' * 400}")
    (tmp_path / "cameras.txt").write_text(
        "# the house\nhttps://u:geheim@yard/v\n\n  env:DOOR\n0\n", encoding="utf-8-sig"
    )
    (tmp_path / "bad.txt").write_text("0\nu:geheim@yard\n")
    (tmp_path / "none.txt").write_text("# nothing\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    return tmp_path


def test_addresses_come_from_files_and_variables(folder: Path) -> None:
    found = parse_all(["env:DOOR", "@cameras.txt", "7"])
    assert [address.name for address in found] == [
        "rtsp://***@door/1",
        "https://***@yard/v",
        "rtsp://***@door/1",
        "camera 0",
        "camera 7",
    ]
    assert found[0].target == "rtsp://admin:geheim@door/1"
    for name in ("env:DOOR", "@a.mp4"):
        (folder / name).touch()
    assert [address.name for address in parse_all(["env:DOOR", "@a.mp4"])] == ["env:DOOR", "@a.mp4"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("env:NONE", "env:NONE: no environment variable of this name, or it is empty"),
        ("env:EMPTY", "env:EMPTY: no environment variable of this name, or it is empty"),
        ("env:BAD", "env:BAD: not a camera number, an address or a video file"),
        ("env:LONG", "env:LONG: not a camera number, an address or a video file"),
        ("env:NO_HOST", "env:NO_HOST: rtsp:///x?token=***: this address has no host"),
        ("@missing.txt", "@missing.txt: cannot be read: No such file or directory"),
        ("@bad.txt", "bad.txt, line 2: not a camera number, an address or a video file"),
        ("@none.txt", "@none.txt: holds no address; expected one a line"),
        ("@bytes.txt", "@bytes.txt: not UTF-8 text"),
        ("admin:geheim@door/1", "***@door/1: no such file; expected a camera number"),
    ],
)
def test_bad_file_or_variable_is_reported_without_its_contents(
    folder: Path, source: str, message: str
) -> None:
    assert folder.is_dir()
    with pytest.raises(SourceError, match=re.escape(message)) as error:
        parse_all([source])
    assert "geheim" not in str(error.value)
    assert error.value.__suppress_context__ or "geheim" not in str(error.value.__context__)


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
