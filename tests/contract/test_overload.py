"""Clients that ask for too much hold up no other client. Real bodies and grammars, on every backend."""

import asyncio

import pytest
from support.gateways import Gateway, of_the_runtime

from bench.faults.held import Held
from bench.faults.large_bodies import send_large_bodies
from bench.faults.long_answers import ask_for_long_answers
from bench.faults.mutated_bodies import send_mutated_bodies
from bench.faults.slow_grammars import send_slow_grammars
from bench.faults.target import Target
from bench.faults.vanishing_clients import vanish

MB = 1_000_000


def target(gateway: Gateway) -> Target:
    return Target(gateway.url, gateway.model, gateway.metrics_url)


@of_the_runtime
async def test_large_bodies_of_special_tokens_take_no_memory_and_hold_up_no_small_question(
    gateway: Gateway,
) -> None:
    sent = await send_large_bodies(target(gateway), 8, 4 * MB)
    assert sent.statuses == {400: 8}
    assert sent.memory_after - sent.memory_before < 100 * MB
    assert sent.disturbed_s < 5 * (2 * sent.undisturbed_s + 1)


@pytest.mark.parametrize("gateway", ["local"], indirect=True)
async def test_long_answers_of_one_client_leave_a_slot_to_another_one(gateway: Gateway) -> None:
    asked = await ask_for_long_answers(target(gateway), 20, 2000, patience_s=20)
    assert asked.disturbed_s < 5 * (2 * asked.undisturbed_s + 1)


@pytest.mark.parametrize("gateway", ["local"], indirect=True)
async def test_slow_grammars_hold_up_no_other_client_and_are_refused_at_once_the_second_time(
    gateway: Gateway,
) -> None:
    sent = await send_slow_grammars(target(gateway), 2)
    assert sent.statuses == {400: 2}
    # Five seconds each until the slow ones are refused: behind both, it would be ten.
    assert sent.schema_s < 9
    assert sent.question_s < 9
    assert sent.again_s < 1


@of_the_runtime
async def test_clients_that_vanish_leave_neither_slots_nor_open_files(gateway: Gateway) -> None:
    before = await asyncio.to_thread(Held.by, target(gateway))
    gone = await vanish(target(gateway), clients=40, at_once=20, stay_s=0.2)
    after = await asyncio.to_thread(before.after, target(gateway))
    assert not after.leaks(before)
    assert gone.disturbed_s < 5 * (2 * gone.undisturbed_s + 1)


@of_the_runtime
async def test_mutated_bodies_bring_neither_an_error_of_the_server_nor_silence(gateway: Gateway) -> None:
    sent = await send_mutated_bodies(target(gateway), 150)
    assert not sent.failed
    assert sum(sent.statuses.values()) == 150
    assert sent.statuses.keys() >= {200, 400}
