"""Authorization rules and their keys, the same for a namespace, a hybrid connection and a WCF relay."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Literal

from fastapi import APIRouter, Depends, Response

from app.errors import BadRequest, EndpointNotFound
from app.manage.arm.paging import SkipToken, page
from app.manage.arm.places import NEW_RULE, NewRuleName, RuleName, Rules, RulesOfHybridConnection, RulesOfWcfRelay
from app.manage.arm.relays import HYBRID_CONNECTION, NAMESPACE, WCF_RELAY
from app.manage.arm.route import ArmRoute
from app.manage.arm.shapes import RegenerateBody, RuleBody
from app.manage.arm.views import KeysView, RuleList, RuleView
from app.namespace import Rule, fold

_NAME = re.compile(NEW_RULE)


def rules_router(path: str, place: type[Rules], of: str) -> APIRouter:
    """The routes below `path`; `of` says whose rules they are."""
    router = APIRouter(tags=["authorizationRules"], route_class=ArmRoute)
    found = Depends(place)
    one = f"{path}/authorizationRules/{{authorizationRuleName}}"

    @router.get(f"{path}/authorizationRules", summary=f"All rules of a {of}")
    async def list_rules(call: Rules = found, skip_token: SkipToken = None) -> RuleList:
        rules, next_link = page(call, call.rules.values(), lambda rule: fold(rule.name), skip_token)
        return RuleList(value=[call.view.rule(call.relay, rule) for rule in rules], next_link=next_link)

    @router.get(one, summary=f"One rule of a {of}")
    async def get_rule(name: RuleName, call: Rules = found) -> RuleView:
        return call.view.rule(call.relay, call.rule(name))

    @router.put(one, summary=f"Create a rule of a {of}, or change its rights")
    async def put_rule(name: NewRuleName, body: RuleBody, call: Rules = found) -> RuleView:
        """Its keys are generated, or stay."""
        if fold(name) not in call.rules and not _NAME.fullmatch(name):
            raise BadRequest(
                "A rule's name has 1 to 50 letters, digits and '._-', and begins and ends with a letter or digit."
            )
        rule = await call.registry.put_rule(call.namespace, call.relay, name, body.properties.right())
        return call.view.rule(call.relay, rule)

    @router.delete(
        one,
        status_code=200,
        response_class=Response,
        summary=f"Delete a rule of a {of}",
        responses={204: {"description": "There was none."}},
    )
    async def delete_rule(name: RuleName, call: Rules = found) -> Response:
        """What lives on its keys ends."""
        if fold(name) not in call.rules:
            return Response(status_code=204)
        with suppress(EndpointNotFound):  # two may delete it at once
            await call.registry.delete_rule(call.namespace, call.relay, name)
        return Response()

    @router.post(f"{one}/listKeys", summary=f"The keys of a rule of a {of}")
    async def list_keys(name: RuleName, call: Rules = found) -> KeysView:
        return _keys(call, call.rule(name))

    @router.post(f"{one}/regenerateKeys", summary=f"Renew one key of a rule of a {of}")
    async def regenerate_keys(name: RuleName, body: RegenerateBody, call: Rules = found) -> KeysView:
        """What lives on the old key ends; the other key goes on."""
        rule, is_primary = call.rule(name), body.key_type == "PrimaryKey"
        if body.key is None:
            which: Literal["primary", "secondary"] = "primary" if is_primary else "secondary"
            return _keys(call, await call.registry.rotate_key(call.namespace, call.relay, name, which))
        keys = (body.key, None) if is_primary else (None, body.key)
        return _keys(call, await call.registry.put_rule(call.namespace, call.relay, rule.name, rule.rights, *keys))

    return router


def _keys(call: Rules, rule: Rule) -> KeysView:
    entity = call.relay.name if call.relay is not None else ""
    return KeysView(
        key_name=rule.name,
        primary_key=rule.primary_key,
        secondary_key=rule.secondary_key,
        primary_connection_string=call.endpoint.connection_string(rule.name, rule.primary_key, entity),
        secondary_connection_string=call.endpoint.connection_string(rule.name, rule.secondary_key, entity),
    )


routers = (
    rules_router(NAMESPACE, Rules, "namespace"),
    rules_router(HYBRID_CONNECTION, RulesOfHybridConnection, "hybrid connection"),
    rules_router(WCF_RELAY, RulesOfWcfRelay, "WCF relay"),
)
