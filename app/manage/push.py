"""`/-/api/subscriptions`: push subscriptions, in the shape of CloudEvents Subscriptions 1.0-wip.

Who may listen to the whole pattern may make one, and sees and changes those of its own rule; who manages the relay sees
and changes all.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.manage.audit import note
from app.manage.callers import REFUSALS, Calling
from app.manage.push_shapes import (
    AttemptList,
    AttemptView,
    CreatedSubscriptionView,
    NewSubscriptionShape,
    Replay,
    SecretRotation,
    SecretView,
    SubscriptionList,
    SubscriptionShape,
    SubscriptionView,
    ValidationView,
)
from app.manage.pushing import Pushing
from app.namespace import Namespace
from app.push.settings import PushSettings
from app.push.signature import key_of, new_secret

router = APIRouter(prefix="/-/api/subscriptions", tags=["push subscriptions"], responses=REFUSALS)


class Pushed:
    """A subscription that the caller may see."""

    def __init__(self, id: str, caller: Calling) -> None:
        self.pushing = caller.context.pushing
        self.namespace = caller.namespace
        self.grant = caller.grant()
        self.settings = self.pushing.find(self.namespace, self.grant, id)
        self.id = self.settings.id

    def view(self, settings: PushSettings | None = None) -> SubscriptionView:
        return _view(self.pushing, self.namespace, settings or self.settings)


OnPushed = Annotated[Pushed, Depends(Pushed)]


@router.get("", summary="The push subscriptions that the caller may see")
async def list_subscriptions(caller: Calling) -> SubscriptionList:
    pushing, namespace = caller.context.pushing, caller.namespace
    found = pushing.visible(namespace, caller.grant())
    return SubscriptionList(subscriptions=[_view(pushing, namespace, each) for each in found])


@router.post("", status_code=201, summary="Push events to a sink")
async def create_subscription(
    body: NewSubscriptionShape, caller: Calling, request: Request, response: Response
) -> CreatedSubscriptionView:
    """Needs Listen on the whole pattern, and Send on the dead-letter address. The sink is asked for its consent at
    once; `status.validation` says how it answered. The signing secret is in this answer and in no other."""
    pushing, namespace = caller.context.pushing, caller.namespace
    made = await pushing.create(namespace, caller.grant(), body.settings(), body.config.from_)
    note(request, f"subscription {made.id}")
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    view = _view(pushing, namespace, made)
    return CreatedSubscriptionView(**dict(view), secret=made.secrets[0])


@router.get("/{id}", summary="One push subscription")
async def get_subscription(pushed: OnPushed) -> SubscriptionView:
    return pushed.view()


@router.put("/{id}", summary="Replace the settings of a push subscription")
async def put_subscription(body: SubscriptionShape, pushed: OnPushed) -> SubscriptionView:
    """Where it stands stays. `***` leaves a secret as it is; a new sink is asked for its consent."""
    wanted = body.settings(pushed.settings)
    return pushed.view(await pushed.pushing.update(pushed.namespace, pushed.grant, pushed.id, wanted))


@router.delete("/{id}", status_code=204, summary="Remove a push subscription")
async def delete_subscription(pushed: OnPushed) -> None:
    await pushed.pushing.delete(pushed.namespace, pushed.id)


@router.get("/{id}/deliveries", summary="What became of the last deliveries")
async def list_deliveries(pushed: OnPushed) -> AttemptList:
    """The newest first; those since the gateway started, at most 256."""
    attempts = pushed.pushing.attempts(pushed.namespace, pushed.id)
    return AttemptList(deliveries=[AttemptView.of(each) for each in attempts])


@router.post("/{id}/validate", summary="Ask the sink for its consent")
async def validate_subscription(pushed: OnPushed) -> ValidationView:
    return ValidationView.of(await pushed.pushing.validate(pushed.namespace, pushed.id))


@router.post("/{id}/pause", summary="Send nothing for now")
async def pause_subscription(pushed: OnPushed) -> SubscriptionView:
    """What is owed waits, as far as the relay's history reaches."""
    return pushed.view(await pushed.pushing.enable(pushed.namespace, pushed.id, False))


@router.post("/{id}/resume", summary="Send again")
async def resume_subscription(pushed: OnPushed) -> SubscriptionView:
    """Also after the gateway itself has disabled it."""
    return pushed.view(await pushed.pushing.enable(pushed.namespace, pushed.id, True))


@router.post("/{id}/replay", status_code=204, summary="Read again from a cursor or a time")
async def replay_subscription(body: Replay, pushed: OnPushed) -> None:
    await pushed.pushing.replay(pushed.namespace, pushed.id, body.from_)


@router.post("/{id}/secret", summary="Change the signing secret")
async def rotate_secret(body: SecretRotation, pushed: OnPushed, response: Response) -> SecretView:
    """Requests are signed by the new one and the one before, until that is dropped."""
    secret = new_secret() if body.secret is None else body.secret.get_secret_value()
    key_of(secret)
    kept = pushed.settings.secrets[:1] if body.keeps_previous else ()
    await pushed.pushing.change_secrets(pushed.namespace, pushed.id, (secret, *kept))
    response.headers["Cache-Control"] = "no-store"
    return SecretView(secret=secret)


@router.delete("/{id}/secret/previous", status_code=204, summary="Sign by the newest secret only")
async def drop_secret(pushed: OnPushed) -> None:
    await pushed.pushing.change_secrets(pushed.namespace, pushed.id, pushed.settings.secrets[:1])


def _view(pushing: Pushing, namespace: Namespace, held: PushSettings) -> SubscriptionView:
    return SubscriptionView.of(held, pushing.owner(namespace, held.id), pushing.counts(namespace, held.id))
