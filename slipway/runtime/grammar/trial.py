"""The program of a process that tries each grammar before the engine's process compiles it.

llguidance bounds neither the time nor the stack that a grammar takes to compile: a JSON schema of 4 kB whose
`allOf` has 80 patterns does not end within a minute, and rules that name each other 20,000 deep overflow the
stack. In an isolated process that harms only this process.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.matcher import compiled, load_tokenizer, refused
from slipway.runtime.isolated.program import run_program

# Of the compiling thread here. The engine's has twice as much, so a grammar that fits here fits there.
STACK_BYTES = 32 << 20
# The vocabulary takes 100 MB as a rule.
MAX_BYTES = 2 << 30


class GrammarTrial:
    """Answers {"kind", "text", "answer"}.

    If answer is null, an error says what is wrong with the grammar. Else the reply is whether the answer
    matches the grammar and nothing can follow it.
    """

    def open(self, opening: Any) -> None:
        """opening: {"directory", "vocab_size", "eos_token_ids"} of the engine. Raises EngineRefused."""
        self._vocab_size: int = opening["vocab_size"]
        directory = Path(opening["directory"])
        self._tokenizer = load_tokenizer(directory, self._vocab_size, opening["eos_token_ids"])
        threading.stack_size(STACK_BYTES)

    def answer(self, question: Any) -> bool | None:
        """Raises InvalidRequest unless the grammar can be used."""
        answer, grammar = question.pop("answer"), Grammar(**question)
        made = self._made(grammar)
        if answer is not None:
            return _ends(made, answer, self._tokenizer)
        self._take_steps(grammar, made)
        return None

    def _made(self, grammar: Grammar) -> LLMatcher:
        """The grammar, compiled on a stack like that of the threads that will do it."""
        outcome: list[LLMatcher | InvalidRequest] = []

        def attempt() -> None:
            try:
                outcome.append(compiled(grammar, self._tokenizer))
            except InvalidRequest as error:
                outcome.append(error)

        deep = threading.Thread(target=attempt)
        deep.start()
        deep.join()
        (made,) = outcome
        if isinstance(made, InvalidRequest):
            raise made
        return made

    def _take_steps(self, grammar: Grammar, made: LLMatcher) -> None:
        """Two steps of an answer, on a stack like that of the threads that will take them."""
        mask = allocate_token_bitmask(1, self._vocab_size)
        for _ in range(2):
            fill_next_token_bitmask(made, mask)
            allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
            if made.is_error() or made.is_stopped() or not len(allowed):
                break
            made.consume_token(int(allowed[-1]))
        if made.is_error():
            raise refused(grammar, made.get_error())


def _ends(made: LLMatcher, answer: str, tokenizer: LLTokenizer) -> bool:
    """Whether an answer is complete and nothing can follow; how it was split into tokens does not matter."""
    return made.consume_tokens(tokenizer.tokenize_str(answer)) and made.is_stopped() and not made.is_error()


if __name__ == "__main__":
    run_program(GrammarTrial(), MAX_BYTES)
