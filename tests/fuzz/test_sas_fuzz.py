"""Whatever comes as a token, the parser returns or refuses with 401."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from app.access.sas import make_token, parse_audience, parse_token
from app.errors import Unauthorized
from app.namespace import Right, Rule

PIECES = st.sampled_from(
    ["sr=", "sig=", "se=", "skn=", "&", "=", "%", "%zz", "%ff", "1", "http%3A%2F%2Fh%2Fa", "\0", "é"]
)


@given(st.one_of(st.text(), st.builds("SharedAccessSignature {}".format, st.lists(PIECES).map("".join))))
@example("SharedAccessSignature sr=\ud800&sig=a&se=1&skn=r")
@example("SharedAccessSignature sr=a&sig=%ff&se=1&skn=r")
def test_parsing_a_token_returns_or_raises_unauthorized(text: str) -> None:
    with contextlib.suppress(Unauthorized):
        token = parse_token(text)
        assert token.key_of(Rule("r", Right.SEND, "a", "b")) is None
        parse_audience(token.audience)


@given(st.one_of(st.text(), st.text(alphabet="htp:/@[]?#%25.a\\$c")))
def test_parsing_an_audience_returns_or_raises_unauthorized(uri: str) -> None:
    for sr in (uri, quote(uri.encode("utf-8", "surrogatepass"), safe="")):
        with contextlib.suppress(Unauthorized):
            host, path = parse_audience(sr)
            assert host == host.lower()
            assert not {"", ".", ".."} & set(path.split("/")) or path == ""


@given(st.text(min_size=1, max_size=40).filter(str.isprintable), st.text(max_size=40).filter(str.isprintable))
def test_made_tokens_are_read_back(rule: str, key: str) -> None:
    token = parse_token(make_token("http://host/path", rule, key, 1700000000))
    assert token.key_of(Rule(rule, Right.SEND, "other" + key, key)) == key
