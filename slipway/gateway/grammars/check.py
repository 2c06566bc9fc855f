"""Grammars are tried before their requests join the queue of an engine.

A grammar may take five seconds to be refused, and no place at the engine should wait for that.
TensorRT-LLM's executor compiles grammars in the loop that runs every request, and one that does not compile
ends all of them (GuidedDecoder::build and forwardAsync in cpp/tensorrt_llm/batch_manager). It does not report
either whether an answer is complete.
"""

import asyncio
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Grammar
from slipway.contract.manifest import Manifest
from slipway.gateway.fair_threads import FairThreads
from slipway.gateway.grammars.ranges import split_ranges
from slipway.gateway.grammars.xgrammar import objection
from slipway.runtime.grammar.matcher import refused
from slipway.runtime.grammar.schema import held_to
from slipway.runtime.grammar.trials import Trials
from slipway.runtime.isolated.pool import PROCESSES

_MAX_PASSED = 256
_MAX_OF_CLIENT = 32


class GrammarCheck:
    """Tries grammars in processes that clients share fairly, and remembers the last that passed."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._trials = Trials(directory, manifest.vocab_size, manifest.eos_token_ids)
        self._threads = FairThreads(PROCESSES, _MAX_OF_CLIENT, "grammars")
        self._for_xgrammar = manifest.target.compiled
        self._passed: OrderedDict[Grammar, Grammar] = OrderedDict()
        self._running: dict[Grammar, asyncio.Task[Grammar]] = {}

    async def checked(self, grammar: Grammar, client: str) -> Grammar:
        """The same grammar, as the engine gets it: for TensorRT-LLM, written so that xgrammar enforces it.

        Raises InvalidRequest when llguidance refuses it or xgrammar would not enforce it, EngineFailed when
        it cannot be tried, ServerBusy when too many grammars of the client are being tried.
        """
        if grammar not in self._passed:
            refusal = self._trials.refusal(grammar)
            if refusal is not None:
                raise refusal
            if grammar not in self._running:
                trying = asyncio.create_task(self._threads.run(client, partial(self._tried, grammar)))
                self._running[grammar] = trying
                trying.add_done_callback(partial(self._ended, grammar))
            # Others may wait for it when this client has left.
            self._passed[grammar] = await asyncio.shield(self._running[grammar])
            if len(self._passed) > _MAX_PASSED:
                self._passed.popitem(last=False)
        self._passed.move_to_end(grammar)
        return self._passed[grammar]

    async def ends(self, grammar: Grammar, answer: str) -> bool:
        """Whether `answer` matches the grammar, which passed, and nothing can follow it."""
        try:
            return await asyncio.to_thread(self._trials.ends, grammar, answer)
        except SlipwayError:
            # It cannot be checked. The answer is there all the same, cut by its max_tokens.
            return False

    async def close(self) -> None:
        """End the processes, and what they try."""
        self._threads.close()
        await asyncio.to_thread(self._trials.close)

    def _ended(self, grammar: Grammar, trying: asyncio.Task[Grammar]) -> None:
        del self._running[grammar]
        if not trying.cancelled():
            trying.exception()  # seen, also where every client that waited for it has left

    def _tried(self, grammar: Grammar) -> Grammar:
        self._trials.check(grammar)
        if not self._for_xgrammar:
            return replace(grammar, tried=True)
        written = grammar
        if grammar.kind == "json_schema":
            written = split_ranges(replace(grammar, text=held_to(grammar.text)))
        reason = objection(written)
        if reason is not None:
            raise refused(grammar, reason)
        return written
