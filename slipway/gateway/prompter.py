"""How one engine is asked: queries become requests, by its tokenizer, template and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slipway.contract.generation import GenerationRequest
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import ToolCallFormat
from slipway.gateway.answers.interpretation import Interpretation
from slipway.gateway.answers.log_probs import LogProbs
from slipway.gateway.answers.prompt_tokens import PromptTokens
from slipway.gateway.answers.thought_limit import ThoughtLimit
from slipway.gateway.capabilities import check_capabilities
from slipway.gateway.conversation import template_messages, tool_objects
from slipway.gateway.errors import NotOffered
from slipway.gateway.grammars.structure import answer_grammar
from slipway.gateway.query import Conversation, Prompts, Query
from slipway.gateway.stop_tokens import stop_tokens
from slipway.gateway.thinking import ThinkingPlan
from slipway.gateway.validation import check_ids, check_length, sampling, stop_strings
from slipway.runtime.isolated.template import read_features
from slipway.text import template, tokenizer
from slipway.text.answer_parser import AnswerParser
from slipway.text.padding import Unpadder
from slipway.text.reasoning import ReasoningSplitter
from slipway.text.special_tokens import SpecialTokenEscaper
from slipway.text.template import RenderArguments, TemplateSource
from slipway.text.template_features import TemplateFeatures
from slipway.text.tokenizer import Tokenizer
from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.choice import PARSERS, parser
from slipway.text.tool_calls.description import with_calls_in_words, with_tools_in_words
from slipway.text.tool_calls.enforced import EnforcedParser
from slipway.text.turns import fit_turns

# A prompt that is only counted, or read from its end alone, may be longer than the limit by this factor.
_READ_TIMES = 4


@dataclass(frozen=True, slots=True)
class Prompter:
    """Turns queries into requests for one engine; read from the engine's folder."""

    manifest: Manifest
    tokenizer: Tokenizer
    template: TemplateSource
    features: TemplateFeatures
    escaper: SpecialTokenEscaper

    @classmethod
    def load(cls, directory: Path) -> "Prompter":
        """Read the manifest and the files about text, whose digests are checked.

        The process that runs the weights checks them, and the versions that it needs.
        Raises EngineRefused.
        """
        manifest = Manifest.read(directory)
        templates = {template.FILE_NAME, template.TOOL_USE_FILE_NAME} & manifest.files.keys()
        manifest.verify(directory, [*tokenizer.FILES, *templates])
        words = Tokenizer.load(directory)
        source = TemplateSource.read(directory, words.special_tokens)
        features = read_features(source, manifest.chat.tool_calls)
        return cls(manifest, words, source, features, SpecialTokenEscaper.of(words))

    def conversation(self, query: Query) -> RenderArguments:
        """What the chat template makes the prompt of, where the query is a conversation."""
        conversation = query.prompt
        assert isinstance(conversation, Conversation)
        tools = tool_objects(conversation.offered)
        bound = bool(tools) and answer_grammar(query) is not None
        if tools and not bound:
            self._call_format()
        return {
            "messages": self._messages(conversation, tools, bound),
            "tools": tools if tools and self.features.knows_tools else None,
            "add_generation_prompt": conversation.open_turn,
            "continue_final_message": conversation.continue_last,
            "kwargs": {**self.thinking(query).variables, **conversation.template_variables},
        }

    def requests(self, query: Query, request_id: str, rendered: str) -> list[GenerationRequest]:
        """One for each prompt.

        rendered: the prompt by the chat template, where the query is a conversation.
        Raises InvalidRequest, or ContextLengthExceeded with both lengths.
        """
        if isinstance(query.prompt, Prompts):
            return [
                self._request(query, request_id, index, *self._read(query, query.prompt, index))
                for index in range(len(query.prompt.texts))
            ]
        prompt, ids = self._encode(query, rendered, self._limit(query))
        query = replace(query, prompt=replace(query.prompt, parallel_calls=not self._one_call(query.prompt)))
        return [self._request(query, request_id, 0, prompt, ids, query.named("messages"))]

    def count(self, query: Query, rendered: str) -> list[int]:
        """The tokens of a conversation's prompt, also where they do not fit.

        rendered: the prompt by the chat template.

        Raises InvalidRequest, or ContextLengthExceeded when they are several times too many.
        """
        return self._encode(query, rendered, self._most_read)[1]

    def tokens(self, text: str, special_tokens: bool, field: str) -> list[int]:
        """The tokens of a plain prompt, also where they do not fit. Errors as for `count`."""
        check_length(text, self._most_read, self.manifest, field, self.tokenizer.encode)
        return self.tokenizer.encode(text, special_tokens)

    @property
    def _most_read(self) -> int:
        return _READ_TIMES * self.manifest.limits.max_input_len

    def _limit(self, query: Query) -> int:
        """How many tokens of a prompt are read before it is refused."""
        whole = query.truncate_prompt_tokens is None
        return self.manifest.limits.max_input_len if whole else self._most_read

    def _encode(self, query: Query, rendered: str, limit: int) -> tuple[str, list[int]]:
        """The prompt of a conversation and its tokens, which may be more than `limit`.

        The prompt is empty where its text would give other tokens. Raises ContextLengthExceeded for a long
        prompt with more tokens than `limit`.
        """
        encode = self.escaper.encode
        check_length(rendered, limit, self.manifest, query.named("messages"), lambda text: encode(text)[1])
        return encode(rendered)

    def interpretation(self, query: Query, request: GenerationRequest) -> Interpretation:
        """How one answer to `request`, which came of `query`, is read."""
        if not isinstance(query.prompt, Conversation):
            return Interpretation()
        bound = request.sampling.grammar is not None
        reasoning: ReasoningSplitter | None = None
        if self.features.thinks and not bound:
            reasoning = ReasoningSplitter(request.prompt or self.tokenizer.text(request.prompt_token_ids))
        names = [tool.name for tool in query.prompt.offered]
        calls: ToolCallParser | None = None
        if names:
            calls = EnforcedParser(names) if bound else parser(self._call_format(), names)
        if reasoning is None and calls is None:
            return Interpretation()
        one_call = self._one_call(query.prompt)
        return Interpretation(AnswerParser(reasoning, calls), query.prompt.must_call, one_call)

    def unpadder(self, query: Query, request: GenerationRequest) -> Unpadder:
        """For the text of one answer to `request`, which came of `query`.

        An answer that begins a turn is a text of its own. Any other one goes on from its prompt. A grammar
        binds an answer's text as its tokens have it.
        """
        if request.sampling.grammar is not None:
            return Unpadder()
        begins_turn = isinstance(query.prompt, Conversation) and not query.prompt.continue_last
        return self.tokenizer.unpadder(() if begins_turn else request.prompt_token_ids)

    def log_probs(self, query: Query, request: GenerationRequest) -> LogProbs | None:
        """What reports the tokens of one answer to `request`; None where the client asked for none."""
        return None if query.logprobs is None else LogProbs(self.tokenizer, self.unpadder(query, request))

    def prompt_tokens(self, request: GenerationRequest, text: str) -> PromptTokens:
        """Those of `request`, whose prompt has this text."""
        return PromptTokens(self.tokenizer, request.prompt_token_ids, text)

    def thinking(self, query: Query) -> ThinkingPlan:
        """What becomes of the client's wish how much the model thinks."""
        if not isinstance(query.prompt, Conversation):
            return ThinkingPlan()
        return ThinkingPlan.of(query.prompt.thinking, self.features, not self.manifest.target.text_only)

    def thought_limit(self, query: Query, request: GenerationRequest) -> ThoughtLimit | None:
        """What ends the thought of one answer to `request`, which came of `query`; None for no limit."""
        limit = self.thinking(query).limit
        if limit is None or request.sampling.grammar is not None or limit >= request.sampling.max_tokens:
            return None
        room = self.manifest.limits.max_input_len - len(request.prompt_token_ids)
        return ThoughtLimit(limit, room, self.tokenizer)

    def _read(self, query: Query, prompts: Prompts, index: int) -> tuple[str, Sequence[int], str]:
        """A plain prompt, its tokens and the client's field that has it."""
        prompt, field = prompts.texts[index], query.named("prompt")
        if len(prompts.texts) > 1:
            field += f"[{index}]"
        if not isinstance(prompt, str):
            check_ids(prompt, self.manifest, field)
            return "", prompt, field
        check_length(prompt, self._limit(query), self.manifest, field, self.tokenizer.encode)
        ids = self.tokenizer.encode(prompt, prompts.special_tokens)
        # Triton encodes the text again, and would put special tokens before it.
        return prompt if prompts.special_tokens else "", ids, field

    def _messages(
        self, conversation: Conversation, tools: Sequence[Mapping[str, Any]], bound: bool
    ) -> list[Mapping[str, Any]]:
        """The conversation in turns that the chat template takes, with tools in words where it knows none."""
        turns = template_messages(conversation.messages, self.manifest.chat.system)
        if not self.manifest.target.text_only:
            turns = self.escaper.escape(turns)
        rules = self.features.rules(bool(tools) and self.features.knows_tools)
        if not rules.calls:
            turns = with_calls_in_words(turns, self._written_form(bound))
        if tools and not self.features.knows_tools:
            turns = with_tools_in_words(turns, tools, self._written_form(bound))
        return fit_turns(turns, rules)

    def _written_form(self, bound: bool) -> type[ToolCallParser]:
        """The format of calls in words. bound: whether a grammar enforces calls."""
        if bound or self.features.calls is None:
            return EnforcedParser
        return PARSERS[self.features.calls]

    def _one_call(self, conversation: Conversation) -> bool:
        """Whether an answer may have one call at most: the client wants it, or the template takes no more."""
        return self.features.one_call or not conversation.parallel_calls

    def _call_format(self) -> ToolCallFormat:
        """Raises NotOffered where the server cannot read the calls that the model writes by itself."""
        if self.features.calls is None:
            raise NotOffered(
                "tools are given, but how this model writes a call is none of the formats that this server "
                "reads; enforce a call with tool_choice (required, or a named function), or give "
                "chat.tool_calls in the recipe, if it is one of them after all.",
                "tools",
            )
        return self.features.calls

    def _request(
        self, query: Query, request_id: str, index: int, prompt: str, ids: Sequence[int], field: str
    ) -> GenerationRequest:
        tokens = stop_tokens(query, self.manifest, self.tokenizer)
        check_capabilities(query, self.manifest, len(tokens))
        if query.truncate_prompt_tokens is not None and len(ids) > query.truncate_prompt_tokens:
            # Without its text, which has the tokens that are cut off.
            prompt, ids = "", ids[-query.truncate_prompt_tokens :]
        params = sampling(query, len(ids), self.manifest, field)
        bad_words = tuple(form for word in query.bad_words for form in (word, f" {word}"))
        return GenerationRequest(
            request_id=f"{request_id}.{index}" if index else request_id,
            prompt=prompt,
            prompt_token_ids=tuple(ids),
            sampling=replace(
                params,
                stop_token_ids=tuple((token,) for token in tokens),
                bad_token_ids=tuple(tuple(self.tokenizer.encode_inside(word)) for word in bad_words),
            ),
            stop=stop_strings(query, self.manifest),
            stop_tokens=tokens,
            show_stop=query.include_stop,
            bad_words=bad_words,
        )
