"""Whatever a `net.tcp` peer sends: it is understood, or refused by a documented error; however it is cut into reads."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest, FramingError
from app.wire.nettcp.faults import fault_of
from app.wire.nettcp.preamble import Preamble, PreambleReader
from app.wire.nettcp.records import Kind, Record, RecordReader, encode_record
from app.wire.nettcp.trail import Trail
from app.wire.nettcp.via import parse_via
from fanway.nettcp_wire import ViaRewriter

PIECES = st.sampled_from(
    [
        b"\0\1\0",
        b"\1\2",
        b"\1\1",
        b"\2\x0dnet.tcp://h/a",
        b"\2\x8d\0net.tcp://h/a",
        b"\3\x08",
        b"\3\x09",
        b"\4\3a/b",
        b"\6\2ab",
        b"\5\1a\0",
        b"\7",
        b"\x08\1x",
        b"\x09\1x",
        b"\x0a",
        b"\x0b",
        b"\x0c",
        b"\xff\xff\xff\xff\x07",
    ]
)
STREAMS = st.binary(max_size=60) | st.lists(PIECES | st.binary(max_size=3), max_size=10).map(b"".join)
VIAS = st.text(max_size=60) | st.lists(
    st.sampled_from(["net.tcp", "sb", "://", "h", "/", "?", "&", "=", "#", "@", ":1", "\\", "%", "sb-hc-token", "\n"])
).map("".join)


def outcome(reader: PreambleReader, reads: list[bytes]) -> Preamble | str | None:
    """What comes of a stream: a preamble, as if nothing were read beyond it; a fault; or nothing yet."""
    for at, data in enumerate(reads):
        try:
            preamble = reader.feed(data)
        except FramingError as error:
            return fault_of(error)
        if preamble is not None:
            return preamble._replace(rest=preamble.rest + b"".join(reads[at + 1 :]))
    return None


@given(stream=STREAMS)
def test_a_preamble_is_the_same_in_any_reads_and_broken_ones_have_a_fault(stream: bytes) -> None:
    whole = outcome(PreambleReader(), [stream])
    assert whole == outcome(PreambleReader(), [stream[at : at + 1] for at in range(len(stream))])
    if isinstance(whole, Preamble):
        again = PreambleReader().feed(whole.encode(whole.via))
        assert again == whole


@given(stream=STREAMS)
def test_records_are_read_or_refused_and_read_again_from_what_was_written(stream: bytes) -> None:
    reader = RecordReader(1 << 16)
    reader.feed(stream)
    with suppress(FramingError):
        while record := reader.next():
            again = RecordReader(1 << 16)
            again.feed(encode_record(record))
            assert again.next() == record


@given(stream=STREAMS)
def test_a_trail_finds_the_same_end_in_any_reads_and_never_fails(stream: bytes) -> None:
    whole, bits = Trail().follow(stream), Trail()
    steps = [(at, bits.follow(stream[at : at + 1])) for at in range(len(stream))]
    assert [at + some for at, some in steps if some is not None] == ([] if whole is None else [whole])


@given(text=VIAS)
def test_a_via_is_understood_or_refused_and_what_goes_on_holds_no_token(text: str) -> None:
    try:
        via = parse_via(text)
    except BadRequest:
        return
    assert via.raw_path.isascii()
    assert parse_via(via.text)[1:] == (via.host, via.raw_path, via.query, None)


@given(stream=STREAMS)
def test_the_agent_changes_nothing_but_the_via_whatever_comes(stream: bytes) -> None:
    whole = ViaRewriter("net.tcp://h/x").feed(stream)
    rewriter = ViaRewriter("net.tcp://h/x")
    assert b"".join(rewriter.feed(stream[at : at + 1]) for at in range(len(stream))) == whole
    reader = RecordReader()
    reader.feed(stream)
    try:
        first = [reader.next() for _ in range(3)]
    except FramingError:
        return
    if [record and record.kind for record in first] == [Kind.VERSION, Kind.MODE, Kind.VIA]:
        head = [first[0], first[1], Record(Kind.VIA, "net.tcp://h/x")]
        assert whole == b"".join(encode_record(record) for record in head if record) + reader.rest()
