"""Which tokens a grammar allows next, by llguidance."""

from collections.abc import Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper, grammar_from
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.schema import held_to
from slipway.runtime.grammar.token_bytes import TokenBytes
from slipway.runtime.kv_cache import FloatArray
from slipway.text.tokenizer import Tokenizer

# llguidance's own limits, except for the lexer's states: 1 to 2 kB each, and the default is 250,000.
_LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
# Between the tokens of a document: a few spaces, or a line break and an indentation. Without a bound a small
# model may write blanks until max_tokens. A schema's `x-guidance` may differ.
_WHITESPACE = r"[ \t]{1,4}|\r?\n[ \t]{0,32}"
_WAY_OUT = {
    "json_schema": "fix or simplify it, or leave out the keyword",
    "regex": "fix or simplify it (Rust's syntax, without look-around and back-references)",
    "ebnf_grammar": "fix or simplify it (Lark in llguidance's dialect, or GBNF)",
}
_NOUN = {"json_schema": "JSON schema", "regex": "regular expression", "ebnf_grammar": "grammar"}
_MAX_REASON = 200
_FORBIDDEN = np.float32(-np.inf)


def load_tokenizer(directory: Path, vocab_size: int, eos_token_ids: Sequence[int]) -> LLTokenizer:
    """The vocabulary of an engine as llguidance keeps it: a tree of the tokens' bytes.

    The bytes are those that make the text of an answer, not llguidance's own reading of tokenizer.json. So
    what matches a grammar is the text that the client gets.
    vocab_size: columns of the logits, which may be more than tokens.
    It holds Python's lock: 0.2 s for 49,152 tokens.
    Raises EngineRefused when a tokenizer file is missing or damaged.
    """
    vocabulary = TokenizerWrapper(TokenBytes(Tokenizer.load(directory), vocab_size))
    return LLTokenizer(vocabulary, eos_token=list(eos_token_ids) or None)


def compiled(grammar: Grammar, tokenizer: LLTokenizer) -> LLMatcher:
    """The start of every answer that follows `grammar`.

    Raises InvalidRequest with llguidance's reason. Neither time nor stack is bounded.
    """
    try:
        matcher = LLMatcher(tokenizer, _definition(grammar), log_level=0, limits=_LIMITS)
    except ValueError as error:
        raise refused(grammar, str(error)) from None
    if matcher.is_error():
        raise refused(grammar, matcher.get_error())
    return matcher


def refused(grammar: Grammar, reason: str) -> InvalidRequest:
    """The error for a grammar that cannot be used, because of `reason`."""
    lines = reason.split("\n")
    shown = next((line for line in lines if line.startswith("error: ")), lines[0]).removeprefix("error: ")
    if len(shown) > _MAX_REASON:
        shown = f"{shown[:_MAX_REASON]}…"
    return InvalidRequest(
        f"The {_NOUN[grammar.kind]} cannot be used ({shown}); {_WAY_OUT[grammar.kind]}.", param="grammar"
    )


class Masks:
    """Computes what matchers allow next, while the engine's thread is in a forward pass."""

    def __init__(self, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        self._vocab_size = vocab_size
        self._eos_token_ids = list(eos_token_ids)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar masks")
        self._executor: LLExecutor | None = None

    def compute_ahead(self, matchers: "Sequence[Matcher]") -> None:
        """Start to compute for these, in one call; each waits for the result when it needs it."""
        if matchers:
            computed = self._thread.submit(self.compute, matchers)
            for matcher in matchers:
                matcher.computed = computed

    def compute(self, matchers: "Sequence[Matcher]") -> None:
        """Compute what each of these allows next."""
        if self._executor is None:
            # One thread: the other cores run the forward pass, and 16 rows take about a millisecond.
            self._executor = LLExecutor(1)
        bits = allocate_token_bitmask(len(matchers), self._vocab_size)
        fill_next_token_bitmask_par(
            self._executor, [(matcher.state, row) for row, matcher in enumerate(matchers)], bits
        )
        unpacked = np.unpackbits(bits.view(np.uint8), axis=1, count=self._vocab_size, bitorder="little")
        for matcher, allowed in zip(matchers, unpacked.view(np.bool_), strict=True):
            # llguidance allows end-of-sequence exactly where the answer may end.
            matcher.allow(allowed, may_end=bool(allowed[self._eos_token_ids].any()))
            allowed[self._eos_token_ids] = False

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


class Matcher:
    """The position of one answer in its grammar. state: llguidance's."""

    def __init__(self, grammar: Grammar, state: LLMatcher, masks: Masks) -> None:
        self.state = state
        self.computed: Future[None] | None = None
        self._grammar = grammar
        self._masks = masks
        self._allowed: NDArray[np.bool_] | None = None
        self._may_end = False

    def copy(self) -> "Matcher":
        """A matcher at the same position, for another answer."""
        other = Matcher(self._grammar, self.state.deep_copy(), self._masks)
        if self._allowed is not None:
            other.allow(self._allowed, self._may_end)
        return other

    def allow(self, allowed: NDArray[np.bool_], may_end: bool) -> None:
        """Set the tokens allowed next, bool [vocab] without end-of-sequence, and whether it may end."""
        self._allowed, self._may_end = allowed, may_end

    def masked(self, logits: FloatArray, ending: Set[int]) -> FloatArray:
        """Float32 [vocab], with minus infinity for every token that the grammar does not allow now.

        ending: the tokens that end this sequence, allowed only where a match is complete.
        Raises InvalidRequest when the grammar has become too complex for llguidance's limits.
        """
        if self.computed is not None:
            self.computed.result()
            self.computed = None
        elif self._allowed is None:
            self._masks.compute([self])
        if self.state.is_error():
            raise refused(self._grammar, self.state.get_error())
        assert self._allowed is not None
        masked: FloatArray = np.where(self._allowed, logits, _FORBIDDEN)
        ends = list(ending)
        masked[ends] = logits[ends] if self._may_end else _FORBIDDEN
        return masked

    def advance(self, token: int) -> None:
        """The answer goes on with `token`, which was allowed."""
        self.state.consume_token(token)
        self._allowed = None

    @property
    def ended(self) -> bool:
        """Whether the match is complete and nothing can follow."""
        return self.state.is_stopped() and not self.state.is_error()


def _definition(grammar: Grammar) -> str:
    """The grammar in llguidance's own form. Raises ValueError."""
    match grammar.kind:
        case "json_schema":
            options: Any = {"whitespace_pattern": _WHITESPACE}
            return LLMatcher.grammar_from_json_schema(held_to(grammar.text), defaults=options)
        case "regex":
            return LLMatcher.grammar_from_regex(grammar.text)
        case "ebnf_grammar":
            return grammar_from("ebnf", grammar.text)
