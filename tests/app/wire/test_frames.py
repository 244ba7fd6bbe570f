"""The frame codec: whole and partial frames, masking, limits, closes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import PayloadTooLarge, PeerWireError
from app.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    WHOLE_FRAME_BYTES,
    FrameParser,
    MessageReader,
    Piece,
    accept_key,
    encode_close,
    encode_fragments,
    encode_frame,
    frame_head,
    parse_close,
)


def masked(opcode: int, payload: bytes, fin: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A client's frame."""
    head = bytearray(frame_head(opcode, len(payload), fin))
    head[1] |= 128
    body = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
    return bytes(head) + mask + body


def fed(parser: FrameParser, data: bytes, sizes: list[int]) -> list[tuple[int, bool, bytes]]:
    pieces, at = [], 0
    for size in sizes:
        pieces += parser.feed(data[at : at + size])
        at += size
    return pieces + parser.feed(data[at:])


@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300)), max_size=6),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    messages: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    data = b"".join(masked(opcode, payload) for opcode, payload in messages)
    assert fed(FrameParser(), data, sizes) == [(opcode, True, payload) for opcode, payload in messages]


@given(st.integers(WHOLE_FRAME_BYTES + 1, 3 * WHOLE_FRAME_BYTES), st.lists(st.integers(1, 70_000), max_size=5))
def test_a_large_frame_streams_as_pieces_of_one_message(size: int, sizes: list[int]) -> None:
    payload = os.urandom(size)
    pieces = fed(FrameParser(), masked(BINARY, payload), sizes)
    assert b"".join(piece[2] for piece in pieces) == payload
    assert [piece[0] for piece in pieces] == [BINARY] + [CONTINUATION] * (len(pieces) - 1)
    assert [piece[1] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert max(len(piece[2]) for piece in pieces) <= WHOLE_FRAME_BYTES


@given(st.integers(0, 3 * WHOLE_FRAME_BYTES), st.booleans(), st.sampled_from([BINARY, CONTINUATION]))
def test_fragments_are_one_message_in_frames_of_at_most_64_kib(size: int, fin: bool, opcode: int) -> None:
    payload = os.urandom(size)
    parser = FrameParser(masked=False)
    if opcode == CONTINUATION:
        parser.feed(encode_frame(BINARY, b"", fin=False))
    pieces = parser.feed(encode_fragments(opcode, payload, fin))
    assert b"".join(piece[2] for piece in pieces) == payload
    assert [piece[0] for piece in pieces] == [opcode] + [CONTINUATION] * (len(pieces) - 1)
    assert [piece[1] for piece in pieces] == [False] * (len(pieces) - 1) + [fin]
    assert max(len(piece[2]) for piece in pieces) <= WHOLE_FRAME_BYTES


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY]),
        st.lists(st.sampled_from([0, 1, 2, 125, 126, 127, 1000, 65535, 65536]), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=5,
)


def written(messages: list[tuple[int, list[int], bool]], is_masked: bool) -> tuple[bytes, list[Piece]]:
    """Messages in fragments of these sizes, a ping before each fragment if so wanted; and the pieces that are due."""
    data, due = b"", []
    for opcode, sizes, has_pings in messages:
        for index, size in enumerate(sizes):
            if has_pings:
                due.append((PING, True, b"are you there"))
            due.append((CONTINUATION if index else opcode, index == len(sizes) - 1, os.urandom(size)))
    for index, (opcode, fin, payload) in enumerate(due):
        data += client_frame(opcode, payload, fin, index) if is_masked else encode_frame(opcode, payload, fin)
    return data, due


def client_frame(opcode: int, payload: bytes, fin: bool, turn: int) -> bytes:
    """The same as `masked`, quick enough for large payloads; each turn has a mask of its own."""
    mask = bytes((turn + 1 & 255, 7, 0, 255))
    head = bytearray(frame_head(opcode, len(payload), fin))
    head[1] |= 128
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return bytes(head) + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


@given(FRAMES, st.lists(st.integers(1, 70_000) | st.integers(1, 12), max_size=12), st.booleans(), st.booleans())
def test_the_same_pieces_come_out_wherever_reads_cut_them_and_whatever_memory_they_lie_in(
    messages: list[tuple[int, list[int], bool]], sizes: list[int], is_masked: bool, is_shared: bool
) -> None:
    data, due = written(messages, is_masked)
    memory = bytearray(data)
    parser, pieces, at = FrameParser(masked=is_masked), [], 0
    for size in [*sizes, len(data)]:
        read = memoryview(memory)[at : at + size]
        pieces += parser.feed(read if is_shared else bytes(read))
        memory[at : at + size] = bytes(len(read))  # the next read overwrites it
        at += size
    assert pieces == due
    assert all(type(payload) is bytes for _, _, payload in pieces)


def test_a_frame_that_comes_byte_by_byte_comes_out_whole() -> None:
    parser, due = FrameParser(), [(BINARY, False, b"a" * 70), (CONTINUATION, True, b"b" * 300), (TEXT, True, b"c")]
    data = b"".join(masked(opcode, payload, fin) for opcode, fin, payload in due)
    assert [piece for byte in data for piece in parser.feed(bytes((byte,)))] == due


@given(st.binary(max_size=40), st.lists(st.integers(1, 10), max_size=10))
def test_any_bytes_mean_the_same_wherever_reads_cut_them(data: bytes, sizes: list[int]) -> None:
    """S50: broken or not, and each broken frame is refused at the latest when its head is whole."""

    def outcome(cuts: list[int]) -> object:
        try:
            return joined(fed(FrameParser(), data, cuts))
        except PeerWireError as error:
            return str(error)

    assert outcome(sizes) == outcome([])


def joined(pieces: list[tuple[int, bool, bytes]]) -> list[tuple[int, bytes]]:
    """The parts of large frames put together again, where nothing else lies between them."""
    whole: list[tuple[int, bytes]] = []
    for opcode, _, payload in pieces:
        if opcode == CONTINUATION and whole:
            whole[-1] = (whole[-1][0], whole[-1][1] + payload)
        else:
            whole.append((opcode, payload))
    return whole


def test_a_control_frame_passes_between_the_fragments_of_a_message() -> None:
    data = masked(TEXT, b"a", fin=False) + masked(PING, b"p") + masked(CONTINUATION, b"b")
    assert FrameParser().feed(data) == [(TEXT, False, b"a"), (PING, True, b"p"), (CONTINUATION, True, b"b")]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(
            masked(TEXT, b"x")[:1] + b"\xff" + b"\x80" + b"\x00" * 7 + b"mask", id="length with the top bit set"
        ),
        pytest.param(b"\x82\xfe\x00\x05mask", id="length not minimal"),
        pytest.param(encode_frame(TEXT, b"x"), id="unmasked from a client"),
        pytest.param(b"\xc1\x81mask", id="reserved bit"),
        pytest.param(b"\x83\x81mask", id="unknown opcode"),
        pytest.param(b"\x09\x80mask", id="fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7emask", id="126-byte ping"),
        pytest.param(masked(CONTINUATION, b"x"), id="continuation of nothing"),
        pytest.param(masked(TEXT, b"x", fin=False) + masked(TEXT, b"y"), id="message inside a message"),
    ],
)
def test_broken_frames_are_refused_with_1002(broken: bytes) -> None:
    """S36."""
    with pytest.raises(PeerWireError) as caught:
        FrameParser().feed(broken)
    assert caught.value.close == 1002


def test_a_million_empty_fragments_cost_no_memory() -> None:
    """S36."""
    reader = MessageReader(10)
    reader.feed(masked(TEXT, b"", fin=False))
    for _ in range(100):
        assert reader.feed(masked(CONTINUATION, b"", fin=False) * 100) == []
    assert not reader._parts
    assert reader.feed(masked(CONTINUATION, b"end")) == [(TEXT, b"end")]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_a_message_is_put_together_from_its_fragments(parts: list[bytes]) -> None:
    data = b"".join(
        masked(TEXT if index == 0 else CONTINUATION, part, fin=index == len(parts) - 1)
        for index, part in enumerate(parts)
    )
    assert MessageReader(1000).feed(data) == [(TEXT, b"".join(parts))]


def test_a_message_above_the_limit_is_refused_before_it_is_stored() -> None:
    reader = MessageReader(100_000)
    with pytest.raises(PayloadTooLarge):
        reader.feed(masked(BINARY, bytes(100_001)))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_a_documented_error(data: bytes) -> None:
    """S50."""
    try:
        for opcode, payload in MessageReader(1000).feed(data):
            if opcode == CLOSE:
                parse_close(payload)
    except (PeerWireError, PayloadTooLarge):
        pass


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_a_close_keeps_its_code_and_reason(code: int) -> None:
    assert parse_close(encode_close(code, "so long")[2:]) == (code, "so long")


def test_a_close_without_a_code_is_1005_and_stays_empty() -> None:
    assert parse_close(b"") == (1005, "")
    assert encode_close(1005) == b"\x88\x00"


def test_a_close_reason_is_cut_between_characters() -> None:
    payload = encode_close(1000, "ü" * 100)[2:]
    assert len(payload) <= 125
    assert parse_close(payload)[1] == "ü" * 61


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xed", b"\x03\xee", b"\x00\x00", b"\x0b\xb7"])
def test_codes_that_may_not_be_sent_are_refused(payload: bytes) -> None:
    with pytest.raises(PeerWireError):
        parse_close(payload)


def test_a_close_reason_must_be_utf8() -> None:
    with pytest.raises(PeerWireError) as caught:
        parse_close(b"\x03\xe8\xff")
    assert caught.value.close == 1007


def test_the_accept_key_is_that_of_the_rfc() -> None:
    """RFC 6455, 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
