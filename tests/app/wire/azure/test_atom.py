"""Runtime information: who asks for it, and the entry that a data-contract reader takes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from app.wire.azure.atom import RuntimeInformation, encode_entry, is_for_management

CONNECT = "{http://schemas.microsoft.com/netservices/2010/10/servicebus/connect}"
INFORMATION = RuntimeInformation("plants/a&b", 1525712400.0, 1525712460.0, True, "<note>", 2)


def test_the_elements_stand_in_the_order_that_the_reader_needs() -> None:
    entry = ElementTree.fromstring(encode_entry(INFORMATION, "https://ns/plants/a&b?x=1&api-version=2016-07", "ns"))
    [description] = entry.iter(f"{CONNECT}HybridConnectionDescription")
    assert [(element.tag.removeprefix(CONNECT), element.text) for element in description] == [
        ("CreatedAt", "2018-05-07T17:00:00Z"),
        ("UpdatedAt", "2018-05-07T17:01:00Z"),
        ("RequiresClientAuthorization", "true"),
        ("UserMetadata", "<note>"),
        ("ListenerCount", "2"),
    ]


def test_the_entry_is_an_atom_entry_about_the_url_that_was_asked() -> None:
    text = encode_entry(INFORMATION, 'https://ns/a?"x"&y', "ns").decode()
    entry = ElementTree.fromstring(text)
    atom = "{http://www.w3.org/2005/Atom}"
    assert entry.tag == f"{atom}entry"
    assert entry.findtext(f"{atom}id") == 'https://ns/a?"x"&y'
    assert entry.findtext(f"{atom}title") == "plants/a&b"
    assert not re.search(r"\s<", text)


@pytest.mark.parametrize(
    ("headers", "is_management"),
    [
        ([("X-PROCESS-AT", "ServiceBus")], True),
        ([("x-process-at", " servicebus ")], True),
        ([("X-PROCESS-AT", "elsewhere")], False),
        ([], False),
    ],
)
def test_a_header_marks_what_is_for_the_relay_itself(headers: list[tuple[str, str]], is_management: bool) -> None:
    assert is_for_management(headers) is is_management
