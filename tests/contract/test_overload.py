"""Clients that ask for too much hold up no other client. Real bodies and grammars, on every backend."""

import pytest
from support.gateways import Gateway, of_the_runtime

from bench.faults.large_bodies import send_large_bodies
from bench.faults.long_answers import ask_for_long_answers
from bench.faults.slow_grammars import send_slow_grammars
from bench.faults.target import Target

MB = 1_000_000


@of_the_runtime
async def test_large_bodies_of_special_tokens_take_no_memory_and_hold_up_no_small_question(
    gateway: Gateway,
) -> None:
    sent = await send_large_bodies(Target(gateway.url, gateway.model), 8, 4 * MB)
    assert sent.statuses == {400: 8}
    assert sent.memory_after - sent.memory_before < 100 * MB
    assert sent.disturbed_s < 5 * (2 * sent.undisturbed_s + 1)


@pytest.mark.parametrize("gateway", ["local"], indirect=True)
async def test_long_answers_of_one_client_leave_a_slot_to_another_one(gateway: Gateway) -> None:
    asked = await ask_for_long_answers(Target(gateway.url, gateway.model), 20, 2000, patience_s=20)
    assert asked.disturbed_s < 5 * (2 * asked.undisturbed_s + 1)


@pytest.mark.parametrize("gateway", ["local"], indirect=True)
async def test_slow_grammars_hold_up_no_other_client_and_are_refused_at_once_the_second_time(
    gateway: Gateway,
) -> None:
    sent = await send_slow_grammars(Target(gateway.url, gateway.model), 2)
    assert sent.statuses == {400: 2}
    # Five seconds each until the slow ones are refused: behind both, it would be ten.
    assert sent.schema_s < 9
    assert sent.question_s < 9
    assert sent.again_s < 1
