"""Keys and their rotation."""

from __future__ import annotations

import base64

from app.access.keyring import new_key, new_rule, rotated
from app.namespace import Right


def test_key_is_256_random_bits_as_text() -> None:
    assert len(base64.b64decode(new_key(), validate=True)) == 32
    assert new_key() != new_key()


def test_rotation_replaces_one_key_and_keeps_the_other() -> None:
    rule = new_rule("root", Right.MANAGE, "given")
    assert rule.primary_key == "given"
    first, second = rotated(rule, "primary"), rotated(rule, "secondary")
    assert first.primary_key != "given"
    assert first.secondary_key == rule.secondary_key
    assert second.primary_key == "given"
    assert second.secondary_key != rule.secondary_key


def test_repr_of_a_rule_hides_its_keys() -> None:
    rule = new_rule("root", Right.MANAGE)
    assert rule.primary_key not in repr(rule)
    assert rule.secondary_key not in repr(rule)
