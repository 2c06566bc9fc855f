"""Requests to an engine and what comes back, the same for every backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length", "cancelled"]
GrammarKind = Literal["json_schema", "regex", "ebnf_grammar"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer as a whole must match; the kinds are named as in TensorRT-LLM's guide types.

    text: a JSON schema; a regular expression in Rust's syntax, for the whole answer; or a context-free
        grammar, in llguidance's dialect of Lark or in llama.cpp's GBNF.
    tried: whether it is known to compile within the bounds of time and stack.
    """

    kind: GrammarKind
    text: str
    tried: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next tokens are chosen.

    max_tokens: of the answer; with 0 the prompt is read and nothing is generated.
    min_tokens: before this many tokens, end-of-sequence is not chosen and stop sequences do not count.
    temperature: 0 is greedy; otherwise logits are divided by it.
    top_p: nucleus, in (0, 1]; 1 keeps all.
    top_k: keep the k most likely tokens; 0 keeps all.
    min_p: keep tokens at least this fraction as likely as the likeliest, in [0, 1]; 0 keeps all.
    repetition_penalty: logits of the tokens in prompt and answer are divided by it (multiplied where
        negative), as in Hugging Face's transformers; 1 does nothing.
    presence_penalty, frequency_penalty: subtracted from the logits of the tokens in the answer, once and for
        each occurrence, as in OpenAI's API; 0 does nothing.
    logit_bias: (token id, what is added to its logit).
    bad_token_ids: token sequences that the answer must not complete.
    seed: 64 bits; the same seed gives the same answer, whatever else runs. None draws one.
    ignore_eos: go on past end-of-sequence, for measurements of fixed length.
    eos_token_ids: the tokens that end the sequence; None means the engine's own. Never part of the output.
    stop_token_ids: token sequences that end the generation and stay in the output, as in
        TensorRT-LLM's `stop_words_list`.
    log_probs: report the natural-log probability of each chosen token, by the softmax of the raw logits.
    top_log_probs: the number of likeliest tokens to report with each; fewer where `grammar` allows fewer.
    prompt_log_probs: the number of likeliest tokens to report with the log-probability of each token of the
        prompt; None reports nothing of the prompt.
    report_end: the token ids of the answer, and what is reported with them, include the token that ended it.
    grammar: allows only tokens that can lead to a match, and ends the generation with one; then
        log-probabilities are those of the allowed tokens only, as in vLLM.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    bad_token_ids: tuple[tuple[int, ...], ...] = ()
    seed: int | None = None
    ignore_eos: bool = False
    eos_token_ids: tuple[int, ...] | None = None
    stop_token_ids: tuple[tuple[int, ...], ...] = ()
    log_probs: bool = False
    top_log_probs: int = 0
    prompt_log_probs: int | None = None
    report_end: bool = False
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt for one engine.

    prompt_token_ids is `text.tokenizer.Tokenizer.encode(prompt)`, or what the client gave in its place; then
        `prompt` is empty. Triton's models get the text where there is one, and tokenize it with the same
        code; local and compiled engines get the ids.
    stop: strings that end the answer, applied to the text above every backend, because a string tokenizes
        differently in context.
    stop_tokens: the tokens in `sampling.stop_token_ids`, each a sequence of its own, with their texts. The
        one that ends the answer is not part of it.
    show_stop: whether the answer ends with the stop string, or the text of the token, that ended it.
    bad_words: texts whose tokens, those in `sampling.bad_token_ids`, the answer must not have in a row.
    """

    request_id: str
    prompt: str
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    stop: tuple[str, ...] = ()
    stop_tokens: Mapping[int, str] = field(default_factory=dict)
    show_stop: bool = False
    bad_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopLogProbs:
    """The likeliest tokens at one place of an answer, in that order, and their natural-log probabilities."""

    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PromptLogProbs:
    """How likely the tokens of a prompt are, each after those before it. The first token has no entry.

    log_probs: natural, by the softmax of the raw logits. ranks: 1 for the likeliest token in its place.
    top: the likeliest tokens in each place; empty where none were asked for.
    """

    log_probs: tuple[float, ...]
    ranks: tuple[int, ...]
    top: tuple[TopLogProbs, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added to one answer.

    text: the new text, whole UTF-8 characters only; empty inside `runtime`, which knows tokens only.
    token_count: how many tokens this delta stands for, without the one that ended the answer.
    token_ids, log_probs, top_log_probs: one per token where asked for and known, else empty. With
        `SamplingParams.report_end`, the token that ended the answer comes after them.
    finish_reason: set on the last delta only.
    stop_token_id: on the last delta, which of the request's stop tokens ended the answer, if one did.
    cached_tokens: on the first delta, how many tokens of the prompt were not read, because their keys
        and values were cached; None where the backend does not say.
    prompt: on the first delta, where the request asks for it.
    """

    text: str = ""
    token_count: int = 0
    token_ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None
    top_log_probs: tuple[TopLogProbs, ...] = ()
    cached_tokens: int | None = None
    stop_token_id: int | None = None
    prompt: PromptLogProbs | None = None
