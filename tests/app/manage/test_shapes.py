"""The JSON of relays and rules: defaults are the gateway's own, a patch touches what it names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.config import HistoryDefaults
from app.manage.shapes import HistoryShape, RelayPatch, RelayShape, RuleShape, RuleView
from app.namespace import HistoryLimits, Profile, Relay, Right, Rule
from app.store.settings import RelaySettings


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_empty_relay_has_the_defaults() -> None:
    assert RelayShape().over(RelaySettings()) == RelaySettings()
    assert HistoryShape(**HistoryDefaults().model_dump()).over(HistoryLimits("none")) == HistoryLimits()
    assert HistoryDefaults().model_dump() == HistoryShape().model_dump()


def test_what_a_relay_leaves_out_comes_from_the_settings_of_the_gateway() -> None:
    defaults = RelaySettings(history=HistoryLimits("none", 7, 8, 9), budget=2048)
    relay = RelayShape.model_validate({"history": {"keep": "memory"}, "slow": "drop"})
    assert relay.over(defaults) == RelaySettings(history=HistoryLimits("memory", 7, 8, 9), slow="drop", budget=2048)


def test_patch_changes_what_it_names() -> None:
    relay = Relay("a", Profile.HYBRID_CONNECTION, False, HistoryLimits("none", 1, 2, 3), slow="drop", budget=4096)
    patch = RelayPatch.model_validate({"budget": 8192, "history": {"events": 9}})
    changed = patch.applied_to(relay).over(RelaySettings())
    assert changed == RelaySettings(
        Profile.HYBRID_CONNECTION, False, HistoryLimits("none", 9, 2, 3), slow="drop", budget=8192
    )


@pytest.mark.parametrize("value", ["\ud800", float("inf"), float("nan"), 1 << 64, -(1 << 64), nested(300)])
def test_json_that_could_not_be_read_again_as_it_is_is_refused(value: Any) -> None:
    for shape in (RelayShape, RelayPatch):
        with pytest.raises(ValidationError, match="RFC 8259"):
            shape.model_validate({"eventSchema": {"const": value}})
    with pytest.raises(ValidationError, match="RFC 8259"):
        RelayShape.model_validate({"eventSchema": {"\ud800": 1}})


def test_rights_are_a_union_and_manage_lists_all() -> None:
    assert RuleShape(rights=["Listen", "Send"]).right() == Right.LISTEN | Right.SEND
    assert RuleShape(rights=["Manage"]).right() is Right.MANAGE
    assert RuleView.of(Rule("r", Right.MANAGE, "a", "b")).rights == ["Listen", "Send", "Manage"]
    assert RuleView.of(Rule("r", Right.SEND, "a", "b")).rights == ["Send"]


def test_repr_of_a_rule_hides_its_keys() -> None:
    assert "hush" not in repr(RuleShape.model_validate({"rights": ["Send"], "primaryKey": "hush"}))
