"""Ways to break the protocol of durable calls that its state machine must find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from aixgo.broker import Delivery
from aixgo.calls import caller, parking, results, settle
from aixgo.calls.cancel import Cancels
from aixgo.calls.dead_letters import DeadLetters
from aixgo.calls.parking import Parked
from aixgo.calls.results import cancelled_result
from aixgo.calls.settle import Outcome, Settler, Standing
from aixgo.calls.worker import Worker
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope
from aixgo.subjects import step_id

from ._sabotage import Behind

Sabotage = Callable[[pytest.MonkeyPatch], None]


def results_are_stored_without_compare_and_set(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(results, "_ABSENT", None)


def workers_do_not_look_for_a_result(patch: pytest.MonkeyPatch) -> None:
    outcome = Worker._outcome

    class Blind:
        async def stands(self, *step: str, decisive: bool) -> bool:
            return False

    async def blindly(self: Worker, *work: Any) -> Outcome:
        seeing, self._results = self._results, cast("Any", Blind())
        try:
            return await outcome(self, *work)
        finally:
            self._results = seeing

    patch.setattr(Worker, "_outcome", blindly)


def every_publication_has_the_same_id(patch: pytest.MonkeyPatch) -> None:
    def publication(call: Envelope) -> str:
        return step_id(call.target, call.run, call.step)

    patch.setattr(parking, "publication", publication)
    patch.setattr(caller, "publication", publication)


def who_parks_does_not_look_again(patch: pytest.MonkeyPatch) -> None:
    async def park(
        self: Settler, delivery: Delivery, request: Envelope, parked: Parked, attempts: int
    ) -> None:
        await self._parking.park(request, parked, attempts)
        await delivery.ack()

    patch.setattr(Settler, "_park", park)


def nobody_wakes_what_is_parked(patch: pytest.MonkeyPatch) -> None:
    async def wake(self: parking.Parking, run: str, step: str) -> bool:
        return True

    patch.setattr(parking.Parking, "wake", wake)


def failures_are_repeated_for_ever(patch: pytest.MonkeyPatch) -> None:
    def next_delay(policy: Retry, attempt: int, error: BaseException) -> float:
        return 0.05

    patch.setattr(settle, "next_delay", next_delay)


def failures_are_not_repeated(patch: pytest.MonkeyPatch) -> None:
    async def again(self: Settler, delivery: Delivery, *others: Any) -> None:
        await delivery.ack()

    patch.setattr(Settler, "_again", again)


def a_failure_leaves_no_dead_letter(patch: pytest.MonkeyPatch) -> None:
    async def add(self: DeadLetters, *message: Any, **about: Any) -> int:
        return 1

    patch.setattr(DeadLetters, "add", add)


def the_dead_letter_of_a_zombie_stays(patch: pytest.MonkeyPatch) -> None:
    async def forget(self: DeadLetters, number: int) -> None:
        pass

    patch.setattr(DeadLetters, "forget", forget)


def a_cancel_stores_no_result(patch: pytest.MonkeyPatch) -> None:
    async def cancel(self: Cancels, request: Envelope, reason: str) -> Envelope:
        return cancelled_result(request, request.target, reason)

    patch.setattr(Cancels, "cancel", cancel)


def workers_send_no_heartbeats(patch: pytest.MonkeyPatch) -> None:
    async def beat(self: Worker) -> None:
        await asyncio.Event().wait()

    patch.setattr(Worker, "_beat", beat)


def nobody_notices_a_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(caller, "now", lambda: 0.0)


def what_was_finished_elsewhere_is_not_acknowledged(patch: pytest.MonkeyPatch) -> None:
    as_usual = Settler.settle

    async def settle_some(
        self: Settler, delivery: Delivery, request: Envelope, outcome: Outcome
    ) -> Outcome:
        if isinstance(outcome, Standing):
            return outcome
        return await as_usual(self, delivery, request, outcome)

    patch.setattr(Settler, "settle", settle_some)


def decisions_are_left_to_replicas(patch: pytest.MonkeyPatch) -> None:
    """Only a broker with replicas can show it: `Behind`."""
    last = Behind.last

    async def of_any(self: Behind, stream: str, subject: str, *, decisive: bool = False) -> Any:
        return await last(self, stream, subject)

    patch.setattr(Behind, "last", of_any)


PROTOCOL: list[Sabotage] = [
    results_are_stored_without_compare_and_set,
    workers_do_not_look_for_a_result,
    every_publication_has_the_same_id,
    who_parks_does_not_look_again,
    nobody_wakes_what_is_parked,
    failures_are_repeated_for_ever,
    failures_are_not_repeated,
    a_failure_leaves_no_dead_letter,
    the_dead_letter_of_a_zombie_stays,
    a_cancel_stores_no_result,
    workers_send_no_heartbeats,
    nobody_notices_a_deadline,
    what_was_finished_elsewhere_is_not_acknowledged,
]
