"""The score of a text by an engine, through the executor that serves."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from slipway.contract.errors import InvalidRequest
from slipway.contract.manifest import open_engine
from slipway.runtime.cpu import physical_cores
from slipway.runtime.executors.base import Executor
from slipway.runtime.executors.choice import open_executor
from slipway.text.perplexity import Score, windows


def score_text(
    directory: Path,
    token_ids: Sequence[int],
    threads: int | None,
    advance: Callable[[int], None],
    on_cpu: bool,
) -> Score:
    """Score a text with the engine in `directory`.

    advance: called with the number of tokens that each step scored.
    on_cpu: run an engine built for a GPU on the CPU.
    Raises EngineRefused for an engine that must not be served, InvalidRequest for a text it cannot read.
    """
    return Score.concatenate(list(score_windows(directory, windows(token_ids), threads, advance, on_cpu)))


def score_windows(
    directory: Path,
    pieces: Sequence[Sequence[int]],
    threads: int | None,
    advance: Callable[[int], None],
    on_cpu: bool,
) -> Iterator[Score]:
    """The score of each piece of a text, in order. As many are decoded at once as there are slots.

    Pieces are decoded token by token, as answers are.
    pieces: of equal length, but the last may be shorter. Other arguments and errors are as in `score_text`.
    """
    manifest = open_engine(directory)
    limits = manifest.limits
    longest = max(map(len, pieces))
    if longest > limits.max_seq_len:
        raise InvalidRequest(
            f"The text is read in windows of {longest} tokens, but engine {manifest.name} holds "
            f"{limits.max_seq_len}; raise limits.max_seq_len in the recipe and build it again."
        )
    slots = min(limits.max_batch_size, len(pieces))
    executor = open_executor(directory, manifest, slots, longest, threads or physical_cores(), on_cpu)
    for start in range(0, len(pieces), slots):
        yield from _score_batch(executor, pieces[start : start + slots], advance)


def _score_batch(
    executor: Executor, pieces: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> list[Score]:
    """The score of each piece, one per slot."""
    logits = [executor.prefill(slot, piece[:1]).copy() for slot, piece in enumerate(pieces)]
    steps = []
    for position in range(1, len(pieces[0])):
        running = [piece for piece in pieces if len(piece) > position]
        tokens = [piece[position] for piece in running]
        steps.append(Score.from_logits(np.stack(logits), np.array(tokens)))
        advance(len(running))
        running = [piece for piece in running if len(piece) > position + 1]
        if running:
            logits = executor.decode(range(len(running)), tokens[: len(running)])
    for slot in range(len(pieces)):
        executor.release(slot)
    return [_column(steps, row) for row in range(len(pieces))]


def _column(steps: Sequence[Score], row: int) -> Score:
    reached = [step for step in steps if len(step.log_probs) > row]
    return Score(
        np.array([step.log_probs[row] for step in reached]),
        np.array([step.likeliest[row] for step in reached]),
    )
