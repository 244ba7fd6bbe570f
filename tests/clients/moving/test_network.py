"""Network rules in Azure's words."""

from __future__ import annotations

from typing import Any

import pytest

from fanway.errors import ConfigurationError
from fanway.moving.network import OPEN, network_from, network_properties
from fanway.moving.resources import NETWORK, Resource


def of(**properties: Any) -> Resource:
    return Resource(NETWORK, "ns", "", "", properties, {}, "here")


def test_what_is_not_said_is_open() -> None:
    assert network_from(of()).settings == OPEN


def test_rules_are_told_in_our_words_and_back() -> None:
    properties = {
        "defaultAction": "Deny",
        "publicNetworkAccess": "SecuredByPerimeter",
        "trustedServiceAccessEnabled": True,
        "ipRules": [{"ipMask": "10.0.0.0/8", "action": "Allow"}, {"ipMask": "::1", "action": "Deny"}],
    }
    assert network_properties(network_from(of(**properties)).settings) == properties


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"defaultAction": "Maybe"}, "defaultAction: should be one of Allow, Deny"),
        ({"publicNetworkAccess": 5}, "publicNetworkAccess: should be one of"),
        ({"trustedServiceAccessEnabled": 5}, "should be true or false"),
        ({"ipRules": {}}, "ipRules: should be a list"),
        ({"ipRules": [5]}, r"ipRules\[0\]: should have an ipMask"),
        ({"ipRules": [{"ipMask": "10.0.0.0/99"}]}, r"ipRules\[0\]: should have an ipMask"),
        ({"ipRules": [{"ipMask": "10.0.0.1", "action": "Ask"}]}, r"ipRules\[0\].action: should be one of"),
        ({"ipRules": [{"ipMask": "10.0.0.1"}] * 129}, "more than 128"),
    ],
)
def test_what_is_wrong_is_told(properties: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"here: .*{words}"):
        network_from(of(**properties))
