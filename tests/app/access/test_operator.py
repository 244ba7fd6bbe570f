"""Bearer tokens of operators."""

from __future__ import annotations

import pytest

from app.access.operator import INVALID_BEARER, MISSING_BEARER, Operators, StaticToken, bearer_of, new_operator_token
from app.errors import TokenExpired, Unauthorized


async def test_the_token_itself_opens_and_nothing_else_does() -> None:
    """Neither a part of it nor more, neither another case nor what is no ASCII."""
    operators = Operators([StaticToken("a-long-enough-secret")])
    await operators.verify("a-long-enough-secret")
    for wrong in ("", "a-long-enough-secre", "a-long-enough-secret ", "A-LONG-ENOUGH-SECRET", "\udcff", "é" * 20):
        with pytest.raises(Unauthorized, match=INVALID_BEARER):
            await operators.verify(wrong)


async def test_one_verifier_that_takes_it_is_enough_and_the_last_one_says_why_not() -> None:
    class Elsewhere:
        async def verify(self, bearer: str) -> None:
            if bearer != "issued":
                raise TokenExpired("The token is expired.")

    operators = Operators([StaticToken("a-long-enough-secret"), Elsewhere()])
    await operators.verify("a-long-enough-secret")
    await operators.verify("issued")
    with pytest.raises(TokenExpired):
        await operators.verify("other")
    with pytest.raises(Unauthorized):
        await Operators([]).verify("anything")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic YTpi", "SharedAccessSignature sr=x"])
def test_what_is_no_bearer_token_is_a_missing_one(header: str | None) -> None:
    with pytest.raises(Unauthorized, match=MISSING_BEARER.split("(")[0].split("'")[0]):
        bearer_of(header)


def test_the_scheme_compares_ignoring_case() -> None:
    assert bearer_of("bearer  abc ") == "abc"


def test_no_two_fresh_tokens_are_alike() -> None:
    assert len({new_operator_token() for _ in range(100)}) == 100
    assert len(new_operator_token()) == 43
