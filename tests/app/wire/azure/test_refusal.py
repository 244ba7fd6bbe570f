"""The words of refusals."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from app.wire.azure.refusal import xml_body


@given(st.text())
def test_xml_body_is_well_formed_whatever_the_sentence(sentence: str) -> None:
    root = ElementTree.fromstring(xml_body(404, sentence))
    assert (root.tag, root.findtext("Code")) == ("Error", "404")


def test_xml_body_escapes_markup() -> None:
    assert xml_body(404, "a <b> & c") == b"<Error><Code>404</Code><Detail>a &lt;b&gt; &amp; c</Detail></Error>"
