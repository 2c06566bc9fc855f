"""Grammars for TensorRT-LLM engines, tried before they are sent.

TensorRT-LLM's executor compiles grammars in the loop that runs every request. A grammar that does not compile
ends all requests (GuidedDecoder::build and forwardAsync in cpp/tensorrt_llm/batch_manager). ONNX engines try
grammars themselves, and report whether an answer is complete.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Grammar
from slipway.contract.manifest import Manifest
from slipway.gateway.grammars.ranges import split_ranges
from slipway.gateway.grammars.xgrammar import objection
from slipway.runtime.grammar.matcher import refused
from slipway.runtime.grammar.schema import held_to
from slipway.runtime.grammar.trial import Trial

_MAX_PASSED = 256


class GrammarCheck:
    """Tries grammars in a process of its own, and remembers the last that passed."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._trial = Trial(directory, manifest.vocab_size, manifest.eos_token_ids)
        # One thread at a time uses the trial, which starts with the first grammar.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar check")
        self._passed: OrderedDict[Grammar, Grammar] = OrderedDict()

    async def checked(self, grammar: Grammar) -> Grammar:
        """The same grammar, written so that xgrammar enforces it.

        Raises InvalidRequest when llguidance refuses it or xgrammar would not enforce it, EngineFailed when
        it cannot be tried.
        """
        if grammar not in self._passed:
            loop = asyncio.get_running_loop()
            self._passed[grammar] = await loop.run_in_executor(self._thread, self._tried, grammar)
            if len(self._passed) > _MAX_PASSED:
                self._passed.popitem(last=False)
        self._passed.move_to_end(grammar)
        return self._passed[grammar]

    def _tried(self, grammar: Grammar) -> Grammar:
        self._trial.check(grammar)
        written = grammar
        if grammar.kind == "json_schema":
            written = split_ranges(replace(grammar, text=held_to(grammar.text)))
        reason = objection(written)
        if reason is not None:
            raise refused(grammar, reason)
        return written

    async def ends(self, grammar: Grammar, answer: str) -> bool:
        """Whether `answer` matches the grammar, which passed, and nothing can follow it."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._trial.ends, grammar, answer
            )
        except SlipwayError:
            # It cannot be checked. The answer is there all the same, cut by its max_tokens.
            return False

    async def close(self) -> None:
        """End the thread and the process, after the grammar that is being tried."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._trial.close()
