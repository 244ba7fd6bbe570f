"""Which listeners a sender wants, and the name of one."""

from __future__ import annotations

import pytest

from app.errors import BadRequest
from app.wire.azure.headers import Headers
from app.wire.azure.listeners import instance_name, listener_filter
from app.wire.http import Head

ONE = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("headers", "query", "name"),
    [
        ([], "", None),
        ([], "a=b&sb-hc-action=listen", None),
        ([("Fanway-Instance", "oslo-1")], "", "oslo-1"),
        ([("FANWAY-INSTANCE", " oslo-1 ")], "", "oslo-1"),
        ([], "sb-hc-instance=oslo-1", "oslo-1"),
        ([], "a=b&SB-HC-Instance=Oslo.1~_x", "Oslo.1~_x"),
        ([("Fanway-Instance", "oslo-1")], "sb-hc-instance=oslo-1", "oslo-1"),
        ([], f"sb-hc-instance={'x' * 64}", "x" * 64),
        ([], "sb-hc-instance=%6Fslo", "oslo"),
    ],
)
def test_a_name_stands_in_the_header_or_in_the_query(headers: Headers, query: str, name: str | None) -> None:
    assert instance_name(headers, query) == name


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("Fanway-Instance", "")], ""),
        ([("Fanway-Instance", "a b")], ""),
        ([("Fanway-Instance", "a,b")], ""),
        ([("Fanway-Instance", "\xe9")], ""),
        ([], "sb-hc-instance="),
        ([], "sb-hc-instance=a/b"),
        ([], "sb-hc-instance=a%00"),
        ([], "sb-hc-instance=*"),
        ([], f"sb-hc-instance={'x' * 65}"),
        ([], "sb-hc-instance=a&sb-hc-instance=b"),
        ([("Fanway-Instance", "a"), ("Fanway-Instance", "b")], ""),
        ([("Fanway-Instance", "a")], "sb-hc-instance=A"),
    ],
)
def test_what_is_no_name_or_two_of_them_is_refused(headers: Headers, query: str) -> None:
    with pytest.raises(BadRequest, match="instance name"):
        instance_name(headers, query)


def test_who_states_nothing_filters_nothing() -> None:
    assert listener_filter(Head("GET", "/x?y=1", "1.1", [("Accept", "*/*")])) is None


def test_ids_and_a_name_narrow_together() -> None:
    headers = [("Fanway-Instance", "oslo"), ("Microsoft-Relay-AllowedListeners", f"{{{ONE}}}")]
    wanted = listener_filter(Head("GET", "/x", "1.1", headers))
    assert wanted is not None
    assert wanted.admits(f"{ONE.upper()}_1", "oslo")
    assert not wanted.admits(ONE, "bergen")
    assert not wanted.admits(ONE, None)
    assert not wanted.admits(None, "oslo")
