"""What an operator may set about pushing, and what is meant where nothing is said."""

from __future__ import annotations

import ipaddress

import pytest

from app.config import ConfigurationError, load_settings
from app.push.options import Push
from app.push.target import SinkRefused, parse_target

LOOPBACK, PRIVATE = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("10.0.0.1")


def test_on_loopback_this_machine_and_http_are_allowed_and_elsewhere_nothing_is() -> None:
    here, public = (Push().reach(is_for_development=each) for each in (True, False))
    here.check("a", [LOOPBACK])
    parse_target("http://localhost/", here)
    for reach, address in ((here, PRIVATE), (public, LOOPBACK), (public, PRIVATE)):
        with pytest.raises(SinkRefused):
            reach.check("a", [address])
    assert not public.allows_http


def test_what_is_said_goes_before_where_the_gateway_listens() -> None:
    said = Push(allowed_networks=("10.0.0.0/8",), allow_http=True)
    for is_for_development in (True, False):
        reach = said.reach(is_for_development=is_for_development)
        reach.check("a", [PRIVATE])
        assert reach.allows_http
        with pytest.raises(SinkRefused):
            reach.check("a", [LOOPBACK])


@pytest.mark.parametrize("text", ["everything", "10.0.0.1/8", "10.0.0.0/33", ""])
def test_a_network_that_is_none_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"push\.allowed_networks"):
        load_settings({"push": {"allowed_networks": [text]}})
