"""Template expressions: what can be resolved is, what cannot says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway.errors import ConfigurationError
from fanway.moving.expressions import Scope, Unresolvable

SCOPE = Scope(
    {
        "parameters": {
            "name": {"type": "string", "defaultValue": "Contoso"},
            "derived": {"defaultValue": "[concat(parameters('name'), '-x')]"},
            "bare": {"type": "string"},
            "given": {"type": "string", "defaultValue": "unused"},
            "digits": {"type": "securestring"},
            "switch": {"type": "bool", "defaultValue": False},
            "broken": {"type": "int"},
            "list": {"defaultValue": ["a", "b"]},
            "object": {"defaultValue": {"Inner": {"deep": 7}}},
            "loop": {"defaultValue": "[variables('loop')]"},
        },
        "variables": {"loop": "[parameters('loop')]", "plain": "v", "rest": "[resourceGroup().location]"},
    },
    {"GIVEN": "from outside", "digits": "123", "switch": "true", "broken": "x"},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("[not an expression", "[not an expression"),
        ("[[escaped]", "[escaped]"),
        ("[parameters('name')]", "Contoso"),
        ("[ Parameters( 'NAME' ) ]", "Contoso"),
        ("[parameters('given')]", "from outside"),
        ("[parameters('derived')]", "Contoso-x"),
        ("[parameters('digits')]", "123"),
        ("[parameters('switch')]", True),
        ("[variables('plain')]", "v"),
        ("[concat(parameters('name'), '/', variables('plain'), 7)]", "Contoso/v7"),
        ("[concat(parameters('list'), createArray('c'))]", ["a", "b", "c"]),
        ("[parameters('list')[1]]", "b"),
        ("[parameters('object').inner.deep]", 7),
        ("['it''s']", "it's"),
        ("[format('{0}/{1}-{{x}}', 'a', 2)]", "a/2-{x}"),
        ("[toUpper(replace(trim(' a-b '), '-', '_'))]", "A_B"),
        ("[last(split('a/b/c', '/'))]", "c"),
        ("[if(equals('A', 'a'), 'same', unknown())]", "same"),
        ("[if(not(true()), unknown(), 'other')]", "other"),
        ("[and(true(), bool('True'), or(false(), true()))]", True),
        (
            "[resourceId('Microsoft.Relay/namespaces/hybridConnections', 'ns', 'hc')]",
            "/subscriptions/-/resourceGroups/-/providers/Microsoft.Relay/namespaces/ns/hybridConnections/hc",
        ),
        ("[last(split(resourceId('group', 'Microsoft.Relay/namespaces', 'ns'), '/'))]", "ns"),
    ],
)
def test_value_is_resolved(text: str, value: Any) -> None:
    assert SCOPE.resolve(text) == value


def test_what_holds_expressions_is_resolved_inside() -> None:
    assert SCOPE.resolve({"a": ["[variables('plain')]", 1, None]}) == {"a": ["v", 1, None]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[parameters('bare')]", "has no value: give --parameter bare=VALUE"),
        ("[parameters('broken')]", "should be int: 'x' is not JSON"),
        ("[parameters('missing')]", "declares no parameter 'missing'"),
        ("[variables('missing')]", "has no variable 'missing'"),
        ("[parameters('loop')]", "refers to itself"),
        ("[variables('rest')]", "resourceGroup\\(\\) cannot be resolved outside of Azure"),
        ("[listKeys('x', '1').primaryKey]", "listKeys\\(\\) cannot be resolved"),
        ("[concat('a'", None),
        ("[concat('a',)]", "is no template expression"),
        ("[parameters(]", "is no template expression"),
        ("[]", "is no template expression"),
        ("[parameters]", "is no template expression"),
        ("['a' 'b']", "is no template expression"),
        ("['open]", "is no template expression"),
        ("[parameters('list')[5]]", "no member '5'"),
        ("[parameters('object').outer]", "no member 'outer'"),
        ("[split('a')]", "split\\(\\) does not fit its arguments"),
        ("[concat(parameters('object'))]", "concat\\(\\) does not fit"),
        ("[format('{3}', 'a')]", "format\\(\\) does not fit"),
        ("[resourceId('ns')]", "resourceId\\(\\) does not fit"),
        ("[if(true(), 'a')]", "if\\(\\) takes three"),
        ("[parameters('name', 'x')]", "takes one name"),
        ("[" + "not(" * 100 + "true()" + ")" * 100 + "]", "is no template expression"),
    ],
)
def test_what_cannot_be_resolved_says_why(text: str, words: str | None) -> None:
    if words is None:
        assert SCOPE.resolve(text) == text
        return
    with pytest.raises(Unresolvable, match=words):
        SCOPE.resolve(text)


def test_parameters_must_be_an_object() -> None:
    with pytest.raises(ConfigurationError, match="parameters: should hold an object"):
        Scope({"parameters": []}, {})


@given(st.text(st.sampled_from("abc()[],.' 0-19parametersconcat"), max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        SCOPE.resolve(f"[{text}]")
    except Unresolvable as error:
        assert str(error)  # noqa: PT017


@given(st.text(max_size=40))
def test_a_quoted_text_is_itself(text: str) -> None:
    quoted = text.replace("'", "''")
    assert SCOPE.resolve(f"['{quoted}']") == text
