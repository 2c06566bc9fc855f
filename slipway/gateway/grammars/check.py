"""Grammars on their way to a TensorRT-LLM engine, tried before they go there; made by `gateway.server`.

Its executor compiles them in the loop that runs every request, and one that it cannot compile ends them all
(GuidedDecoder::build and forwardAsync in cpp/tensorrt_llm/batch_manager). ONNX engines try their own, and say
themselves whether an answer is complete.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Grammar
from slipway.contract.manifest import Manifest
from slipway.gateway.grammars.ranges import spelled_out
from slipway.gateway.grammars.xgrammar import objection
from slipway.runtime.grammar.matcher import refused
from slipway.runtime.grammar.trial import Trial

_KEPT = 256


class GrammarCheck:
    """Tries each grammar in a process of its own, and remembers those used last that passed."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._trial = Trial(directory, manifest.vocab_size, manifest.eos_token_ids)
        # A trial is used by one thread at a time; it starts with the first grammar.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar check")
        self._passed: OrderedDict[Grammar, Grammar] = OrderedDict()

    async def checked(self, grammar: Grammar) -> Grammar:
        """The same grammar, in words that xgrammar holds to.

        Raises InvalidRequest when llguidance refuses it, or there are no such words; EngineFailed when it
        cannot be tried.
        """
        if grammar not in self._passed:
            loop = asyncio.get_running_loop()
            self._passed[grammar] = await loop.run_in_executor(self._thread, self._tried, grammar)
            if len(self._passed) > _KEPT:
                self._passed.popitem(last=False)
        self._passed.move_to_end(grammar)
        return self._passed[grammar]

    def _tried(self, grammar: Grammar) -> Grammar:
        self._trial.check(grammar)
        written = spelled_out(grammar)
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
            # Nobody can tell, and the answer has come all the same, as long as it was allowed to be.
            return False

    async def close(self) -> None:
        """End the thread and the process. A grammar that is being tried is tried to its end first."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._trial.close()
