"""The faults that clients do to a server that goes on, and what must come of each."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from bench.faults.full_queue import fill_queue
from bench.faults.hostile_templates import send_attacks
from bench.faults.large_bodies import send_large_bodies
from bench.faults.long_answers import ask_for_long_answers
from bench.faults.mutated_bodies import send_mutated_bodies
from bench.faults.outcome import Outcome
from bench.faults.slow_grammars import send_slow_grammars
from bench.faults.target import Target
from bench.faults.unread_answers import leave_answers_unread
from bench.faults.vanishing_clients import vanish

# Small, so that ten times as many answers take a minute.
MAX_QUEUE = 32
_PLACES = 19
_UNREAD_PATIENCE_S = 300.0
_TTFT_PATIENCE_S = 60.0


def client_faults(bodies: int) -> dict[str, Callable[[Target], Awaitable[Outcome]]]:
    """The faults by their names. bodies: how many mutated ones."""
    return {
        "8 bodies of 4 MB of special tokens": _large_bodies,
        "24 streams that are never read": _unread,
        "6 slow grammars": _slow_grammars,
        "60 long answers of one client": _long_answers,
        "ten times the queue, from one client": _full_queue,
        "1,000 vanishing clients": _vanishing,
        f"{bodies:,} mutated bodies": lambda target: _mutated(target, bodies),
    }


async def send_hostile_messages(target: Target) -> Outcome:
    """All attacks of a `hostile_engine`, which the target serves."""
    sent = await send_attacks(target)
    statuses = Counter(stop.status for stop in sent.stopped.values())
    memory = f"memory at most {(sent.memory_most - sent.memory_before) / 1e6:+.0f} MB"
    chats = f"a small chat {sent.undisturbed_s:.2f} s undisturbed, {sent.disturbed_s:.2f} s at worst"
    return Outcome(f"{_counted(statuses)}; {chats}; {memory}", _others(statuses, {400}))


async def _large_bodies(target: Target) -> Outcome:
    sent = await send_large_bodies(target, 8, 4_000_000)
    memory = f"memory at most {(sent.memory_most - sent.memory_before) / 1e6:+.0f} MB"
    saw = f"{_counted(sent.statuses)}; {_first_token(sent.undisturbed_s, sent.disturbed_s)}; {memory}"
    return Outcome(saw, _others(sent.statuses, {400}))


async def _unread(target: Target) -> Outcome:
    left = await leave_answers_unread(target, 24, 150, _UNREAD_PATIENCE_S)
    if left.closed_s is None:
        return Outcome("their connections stay open", ("connections that are never closed",))
    closed = f"engine idle after {left.idle_s:.0f} s, connections closed after {left.closed_s:.0f} s"
    return Outcome(f"first token {left.first_token_s:.1f} s; {closed}")


async def _slow_grammars(target: Target) -> Outcome:
    sent = await send_slow_grammars(target, 6)
    seconds = f"a small schema {sent.schema_s:.1f} s, a question {sent.question_s:.1f} s"
    saw = f"{_counted(sent.statuses)}; {seconds}; refused again after {sent.again_s:.2f} s"
    return Outcome(saw, _others(sent.statuses, {400}))


async def _long_answers(target: Target) -> Outcome:
    asked = await ask_for_long_answers(target, 60, 2000, _TTFT_PATIENCE_S)
    return Outcome(_first_token(asked.undisturbed_s, asked.disturbed_s))


async def _full_queue(target: Target) -> Outcome:
    filled = await fill_queue(target, 10 * MAX_QUEUE, 16, _PLACES)
    told = f"{filled.ratios[0]:.2f} to {filled.ratios[-1]:.2f} of the time told" if filled.ratios else ""
    modest = f"the modest client {max(filled.modest_s):.1f} s at worst, its share {filled.share_s:.1f} s"
    saw = "; ".join(part for part in (_counted(filled.statuses), told, modest) if part)
    return Outcome(saw, _others(filled.statuses, {200, 429}))


async def _vanishing(target: Target) -> Outcome:
    gone = await vanish(target, clients=1000, at_once=40, stay_s=1.0)
    return Outcome(_first_token(gone.undisturbed_s, gone.disturbed_s))


async def _mutated(target: Target, bodies: int) -> Outcome:
    sent = await send_mutated_bodies(target, bodies)
    hung = f", {sent.hung} without an answer" if sent.hung else ""
    return Outcome(f"{_counted(sent.statuses)}{hung}", sent.failed)


def _counted(statuses: Mapping[int, int]) -> str:
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))


def _others(statuses: Mapping[int, int], expected: set[int]) -> tuple[str, ...]:
    return tuple(f"{count} x {status}" for status, count in statuses.items() if status not in expected)


def _first_token(undisturbed_s: float, disturbed_s: float) -> str:
    over = ", over the target" if disturbed_s > 2 * undisturbed_s + 1 else ""
    return f"first token {undisturbed_s:.2f} s undisturbed, {disturbed_s:.2f} s at worst{over}"
