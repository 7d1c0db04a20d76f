from __future__ import annotations

import struct

import pytest

from slimpose.arrays import Size
from slimpose.media import mp4


def test_first_frame_without_a_decoder_header_is_rejected() -> None:
    with pytest.raises(ValueError, match="expected MPEG-4 with a decoder header"):
        mp4.header(Size(48, 64), b"\x00\x00\x01\xb6\x10")
    with pytest.raises(ValueError, match="the first frame starts with ff d8"):
        mp4.header(Size(48, 64), b"\xff\xd8\xff")


def test_fragment_states_its_length_time_and_the_offset_of_the_frame() -> None:
    frame = b"\x00\x00\x01\xb6\x10" + bytes(50)
    data = mp4.fragment(3, frame, start=2**33, duration=9000)
    length, name = struct.unpack_from(">I4s", data)
    assert name == b"moof"
    assert data[length + 4 : length + 8] == b"mdat"
    assert struct.unpack_from(">I", data, length)[0] == len(frame) + 8
    offset = data.index(b"trun") + 12
    assert data[struct.unpack_from(">i", data, offset)[0] :] == frame
    assert struct.unpack_from(">Q", data, data.index(b"tfdt") + 8)[0] == 2**33  # over a day


@pytest.mark.parametrize(("vop", "key"), [(0x10, True), (0x50, False), (0x90, False)])
def test_intra_coded_frame_is_a_key_frame(vop: int, key: bool) -> None:
    assert mp4.is_key_frame(b"\x00\x00\x01\xb6" + bytes([vop, 0])) == key
    assert not mp4.is_key_frame(b"\x00\x00\x01\xb6")
