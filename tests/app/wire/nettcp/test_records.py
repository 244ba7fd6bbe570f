"""The records of the framing, each with its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FramingError
from app.wire.nettcp.records import (
    MAX_SIZE,
    SIZE_BYTES,
    Kind,
    Record,
    RecordReader,
    encode_record,
    encode_size,
    read_size,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "nmf.json").read_text())

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
BYTE = st.integers(0, 255)
RECORDS = st.one_of(
    st.sampled_from([Kind.END, Kind.UPGRADE_RESPONSE, Kind.PREAMBLE_ACK, Kind.PREAMBLE_END]).map(Record),
    st.tuples(BYTE, BYTE).map(lambda version: Record(Kind.VERSION, version)),
    st.builds(Record, st.sampled_from([Kind.MODE, Kind.KNOWN_ENCODING]), BYTE),
    st.builds(Record, st.sampled_from([Kind.VIA, Kind.EXTENSIBLE_ENCODING, Kind.FAULT, Kind.UPGRADE_REQUEST]), TEXT),
    st.binary(min_size=1, max_size=400).map(lambda message: Record(Kind.SIZED_ENVELOPE, message)),
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4).map(
        lambda chunks: Record(Kind.UNSIZED_ENVELOPE, tuple(chunks))
    ),
)


def record_of(case: dict[str, Any]) -> Record:
    kind, value = Kind[case["kind"]], case["value"]
    if kind is Kind.VERSION:
        value = tuple(value)
    elif kind is Kind.SIZED_ENVELOPE:
        value = bytes.fromhex(value)
    elif kind is Kind.UNSIZED_ENVELOPE:
        value = tuple(map(bytes.fromhex, value))
    return Record(kind, value)


def read_all(*reads: bytes) -> list[Record]:
    reader, records = RecordReader(), []
    for data in reads:
        reader.feed(data)
        while record := reader.next():
            records.append(record)
    assert not reader.rest()
    return records


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda case: case["name"])
def test_a_record_and_its_bytes_are_each_made_of_the_other(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert read_all(data) == [record_of(case)]
    assert encode_record(record_of(case)) == data


def test_the_vectors_have_every_type_of_record() -> None:
    assert {case["kind"] for case in VECTORS["records"]} == {kind.name for kind in Kind}


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda case: case["name"])
def test_a_record_is_there_with_its_last_byte_and_not_before(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    reader = RecordReader()
    for byte in data[:-1]:
        reader.feed(bytes([byte]))
        assert reader.next() is None
    reader.feed(data[-1:])
    assert reader.next() == record_of(case)


@pytest.mark.parametrize("case", VECTORS["padded"], ids=lambda case: case["name"])
def test_a_padded_size_is_read_and_never_written(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert read_all(data) == [record_of(case)]
    assert len(encode_record(record_of(case))) < len(data)


@pytest.mark.parametrize("case", VECTORS["broken"], ids=lambda case: case["name"])
def test_a_broken_record_is_refused_with_its_fault_however_it_comes(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    for cuts in (data,), tuple(bytes([byte]) for byte in data):
        with pytest.raises(FramingError) as refused:
            read_all(*cuts)
        assert refused.value.fault.rpartition("/")[2] == case["fault"]


@pytest.mark.parametrize(
    "record",
    [
        Record(Kind.END, 1),
        Record(Kind.VERSION, 1),
        Record(Kind.VIA, b"bytes"),
        Record(Kind.SIZED_ENVELOPE, b""),
        Record(Kind.SIZED_ENVELOPE, "text"),
        Record(Kind.UNSIZED_ENVELOPE, ()),
        Record(Kind.MODE),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_not_encoded(record: Record) -> None:
    with pytest.raises(ValueError, match="does not hold such a value"):
        encode_record(record)


@given(records=st.lists(RECORDS, max_size=6), data=st.data())
def test_records_survive_any_cutting_into_reads(records: list[Record], data: st.DataObject) -> None:
    stream = b"".join(map(encode_record, records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reads = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read_all(*reads) == records


@given(size=st.integers(0, MAX_SIZE))
def test_a_size_is_read_as_it_was_written_in_as_few_bytes_as_can_be(size: int) -> None:
    coded = encode_size(size)
    assert read_size(coded, 0) == (size, len(coded))
    assert len(coded) == max(1, -(-size.bit_length() // 7)) <= SIZE_BYTES


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_a_size_out_of_range_is_not_written(size: int) -> None:
    with pytest.raises(ValueError, match="31 bits"):
        encode_size(size)
