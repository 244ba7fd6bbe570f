"""What an entity's description says: its elements in their order going out, by name coming in."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.wire.azure.description import (
    CONNECT,
    RELAY_TYPES,
    RIGHTS,
    Description,
    Kind,
    RuleDescription,
    encode_description,
    parse_description,
)

KEYED = RuleDescription("sender", ("Send",), "primary+/=", "secondary")
HYBRID = Description(
    Kind.HYBRID_CONNECTION,
    user_metadata="<note>",
    path="plants/a",
    created_at=1525712400.0,
    updated_at=1525712460.0,
    listener_count=2,
)
# What XML 1.0 can hold and its parsers give back as it was.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r")
).map(lambda text: "".join(character for character in text if character >= " " or character in "\t\n\r"))
RULES = st.builds(
    RuleDescription,
    st.from_regex(r"[A-Za-z0-9._~-]{1,20}", fullmatch=True),
    st.lists(st.sampled_from(RIGHTS), min_size=1, unique=True).map(tuple),
    st.none() | TEXT,
    st.none() | TEXT,
)


def names_of(element: ElementTree.Element) -> list[str]:
    return [child.tag.removeprefix(f"{{{CONNECT}}}") for child in element]


def described(inside: str, kind: str = "HybridConnectionDescription", namespace: str = CONNECT) -> Description:
    instance = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
    return parse_description(ElementTree.fromstring(f'<{kind} xmlns="{namespace}" {instance}>{inside}</{kind}>'))


def test_the_elements_stand_in_the_order_that_the_reader_needs() -> None:
    element = ElementTree.fromstring(encode_description(HYBRID))
    assert [(name, child.text) for name, child in zip(names_of(element), element, strict=True)] == [
        ("CreatedAt", "2018-05-07T17:00:00Z"),
        ("UpdatedAt", "2018-05-07T17:01:00Z"),
        ("RequiresClientAuthorization", "true"),
        ("UserMetadata", "<note>"),
        ("ListenerCount", "2"),
    ]


def test_rules_stand_where_the_reader_passes_over_what_it_does_not_know() -> None:
    element = ElementTree.fromstring(encode_description(Description(Kind.HYBRID_CONNECTION, rules=(KEYED,))))
    assert names_of(element)[2:] == [
        "RequiresClientAuthorization",
        "AuthorizationRules",
        "UserMetadata",
        "ListenerCount",
    ]
    [rule] = element[3]
    assert names_of(rule) == ["ClaimType", "ClaimValue", "Rights", "KeyName", "PrimaryKey", "SecondaryKey"]


def test_a_relay_says_what_kind_of_relay_it_is() -> None:
    element = ElementTree.fromstring(
        encode_description(Description(Kind.RELAY, "NetEvent", is_dynamic=True, path="a/b"))
    )
    texts = dict(zip(names_of(element), (child.text for child in element), strict=True))
    assert (texts["Path"], texts["RelayType"], texts["IsDynamic"]) == ("a/b", "NetEvent", "true")


@given(
    st.sampled_from(RELAY_TYPES),
    st.booleans(),
    st.booleans(),
    TEXT,
    st.none() | st.lists(RULES, min_size=1, max_size=3).map(tuple),
)
def test_what_is_written_is_read(
    relay_type: str, is_authorized: bool, is_secure: bool, metadata: str, rules: tuple[RuleDescription, ...] | None
) -> None:
    written = Description(Kind.RELAY, relay_type, is_authorized, is_secure, metadata, rules)
    assert parse_description(ElementTree.fromstring(encode_description(written))) == written


def test_elements_are_found_by_name_wherever_they_stand_and_unknown_ones_are_passed_over() -> None:
    description = described(
        "<UserMetadata>note</UserMetadata><Status>Active</Status><x:Path xmlns:x='urn:other'/><ListenerCount>7"
        "</ListenerCount><RequiresClientAuthorization> false </RequiresClientAuthorization>"
    )
    assert description == Description(Kind.HYBRID_CONNECTION, requires_client_authorization=False, user_metadata="note")


@pytest.mark.parametrize("inside", ["", '<RequiresClientAuthorization i:nil="true"/>'])
def test_what_is_not_said_has_the_default(inside: str) -> None:
    assert described(inside) == Description(Kind.HYBRID_CONNECTION)


@pytest.mark.parametrize(
    ("told", "meant"), [("1", "NetTcp"), ("http", "Http"), ("NetOneway", "NetOneway"), ("3", "NetEvent")]
)
def test_a_relay_type_is_told_by_name_or_number(told: str, meant: str) -> None:
    assert described(f"<RelayType>{told}</RelayType>", "RelayDescription").relay_type == meant


RULE = "<AuthorizationRules><AuthorizationRule{}>{}</AuthorizationRule></AuthorizationRules>"


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("<RequiresClientAuthorization>yes</RequiresClientAuthorization>", "should be true or false, not 'yes'"),
        ("<RequiresClientAuthorization><true/></RequiresClientAuthorization>", "should hold text"),
        ("<UserMetadata/><UserMetadata/>", "stands twice"),
        ("<UserMetadata xmlns='urn:x'/>", "should be in the namespace"),
        ("<AuthorizationRules><Rule/></AuthorizationRules>", "only <AuthorizationRule>"),
        (RULE.format("", "<Rights/>"), "no <KeyName>"),
        (RULE.format("", "<KeyName>k</KeyName>"), "no <Rights>"),
        (RULE.format("", "<KeyName>k</KeyName><Rights><AccessRights>Rule</AccessRights></Rights>"), "hold 'Rule'"),
        (RULE.format(' i:type="AllowRule"', "<KeyName>k</KeyName>"), "of the type 'AllowRule'"),
    ],
)
def test_what_is_wrong_is_named(inside: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        described(inside)


@pytest.mark.parametrize(
    ("kind", "namespace", "inside", "words"),
    [
        ("QueueDescription", CONNECT, "", "it should be HybridConnectionDescription or RelayDescription"),
        ("HybridConnectionDescription", "urn:other", "", "of the namespace 'urn:other'"),
        ("RelayDescription", CONNECT, "", "needs a <RelayType>"),
        ("RelayDescription", CONNECT, "<RelayType>5</RelayType>", "'5' is none of None, NetTcp"),
    ],
)
def test_only_the_two_kinds_are_read(kind: str, namespace: str, inside: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        described(inside, kind, namespace)
