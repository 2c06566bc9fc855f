"""A process that tries each grammar before the engine's process compiles it.

    python -m slipway.runtime.grammar.trial DIR VOCAB_SIZE [EOS_TOKEN_ID ...]

llguidance bounds neither the time nor the stack that a grammar takes to compile: a JSON schema of 4 kB whose
`allOf` has 80 patterns does not end within a minute, and rules that name each other 20,000 deep overflow the
stack. Here that harms only this process. It reads lines of JSON, {"kind", "text", "answer"}, and writes a
line for each: if answer is null, the fault of the grammar or null; else whether the answer completes it.
"""

import faulthandler
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from slipway.contract.errors import EngineFailed, EngineRefused, InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.matcher import compiled, load_tokenizer, refused

# Half a second is long for a real schema, and a busy machine may need several times as long.
PATIENCE_S = 5.0
# Of the compiling thread here. The engine's has twice as much, so a grammar that fits here fits there.
STACK_BYTES = 32 << 20
_NO_START = "The process that tries grammars does not start"
_KILLED = -9  # by another program: a grammar can end the process only in other ways


class Trial:
    """The process, started for the first grammar and again after one that ended it."""

    def __init__(self, directory: Path, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        numbers = [str(number) for number in (vocab_size, *eos_token_ids)]
        self._command = [sys.executable, "-m", "slipway.runtime.grammar.trial", str(directory), *numbers]
        self._process: subprocess.Popen[str] | None = None

    def check(self, grammar: Grammar) -> None:
        """Raise InvalidRequest unless the grammar compiles in time, EngineFailed when the process fails.

        Call from one thread at a time.
        """
        reason = self._answer(grammar)
        if reason is not None:
            raise InvalidRequest(str(reason), param="grammar")

    def ends(self, grammar: Grammar, answer: str) -> bool:
        """Whether `answer` matches the grammar and nothing can follow it. Errors as for `check`."""
        return bool(self._answer(grammar, answer))

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _answer(self, grammar: Grammar, answer: str | None = None) -> str | bool | None:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            asked = {"kind": grammar.kind, "text": grammar.text, "answer": answer}
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self.close()
            if process.returncode == _KILLED:
                raise EngineFailed("The process that tries grammars was killed; send the request again.")
            raise refused(grammar, f"it is too complex to compile within {PATIENCE_S:g} s")
        reply: str | bool | None = json.loads(line)
        return reply

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    # Ctrl-C reaches every process of the terminal, but the parent decides when this one ends.
                    start_new_session=True,
                )
            except OSError as error:
                raise EngineFailed(f"{_NO_START} ({error}).") from None
            assert self._process.stdout is not None
            # Its first line comes after it read the tokenizer, which must not count as the grammar's time.
            if not self._process.stdout.readline():
                self.close()
                raise EngineFailed(f"{_NO_START}; its last output is on standard error.")
        return self._process


def main() -> None:
    """Answer until the parent is gone."""
    vocab_size, *eos_token_ids = (int(number) for number in sys.argv[2:])
    tokenizer = load_tokenizer(Path(sys.argv[1]), vocab_size, eos_token_ids)
    print(flush=True)
    threading.stack_size(STACK_BYTES)
    with Path(os.devnull).open("w") as nowhere:
        for line in sys.stdin:
            # Ends the process from a thread of its own, even while llguidance holds Python's lock.
            faulthandler.dump_traceback_later(PATIENCE_S, exit=True, file=nowhere)
            asked = json.loads(line)
            answer, grammar = asked.pop("answer"), Grammar(**asked)
            made = _made(grammar, tokenizer)
            reply = _fault(grammar, made, vocab_size) if answer is None else _ends(made, answer, tokenizer)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(reply), flush=True)


def _made(grammar: Grammar, tokenizer: LLTokenizer) -> LLMatcher | InvalidRequest:
    """The compiled grammar, or what is wrong with it."""
    outcome: list[LLMatcher | InvalidRequest] = []

    def attempt() -> None:
        try:
            outcome.append(compiled(grammar, tokenizer))
        except InvalidRequest as error:
            outcome.append(error)

    deep = threading.Thread(target=attempt)
    deep.start()
    deep.join()
    (made,) = outcome
    return made


def _fault(grammar: Grammar, made: LLMatcher | InvalidRequest, vocab_size: int) -> str | None:
    """What is wrong with a grammar, seen from its compilation and from two steps of an answer."""
    if isinstance(made, InvalidRequest):
        return str(made)
    # The steps on a stack like that of the threads that will take them.
    mask = allocate_token_bitmask(1, vocab_size)
    for _ in range(2):
        fill_next_token_bitmask(made, mask)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
        if made.is_error() or made.is_stopped() or not len(allowed):
            break
        made.consume_token(int(allowed[-1]))
    return str(refused(grammar, made.get_error())) if made.is_error() else None


def _ends(made: LLMatcher | InvalidRequest, answer: str, tokenizer: LLTokenizer) -> bool:
    """Whether an answer is complete and nothing can follow; how it was split into tokens does not matter."""
    if isinstance(made, InvalidRequest):
        return False
    return made.consume_tokens(tokenizer.tokenize_str(answer)) and made.is_stopped() and not made.is_error()


if __name__ == "__main__":
    try:
        main()
    except EngineRefused as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
