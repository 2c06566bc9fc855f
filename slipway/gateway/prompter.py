"""How one engine is asked: bodies become requests, by its tokenizer, template and limits; held by `Model`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import GenerationRequest
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import ToolCallFormat
from slipway.gateway.answers.answer import Piece
from slipway.gateway.answers.interpretation import Interpretation
from slipway.gateway.api.body import GenerationBody
from slipway.gateway.api.chat import ChatCompletionRequest, Message
from slipway.gateway.api.completions import CompletionRequest
from slipway.gateway.api.tokens import Detokenized, DetokenizeRequest, TokenizeRequest, Tokens
from slipway.gateway.capabilities import check
from slipway.gateway.conversation import check_conversation, conversation, tools_offered
from slipway.gateway.errors import NotOffered
from slipway.gateway.grammars.structure import binds_calls
from slipway.gateway.validation import check_ids, sampling, stop_strings
from slipway.text import template, tokenizer
from slipway.text.answer_parser import AnswerParser
from slipway.text.reasoning import ReasoningSplitter
from slipway.text.special_tokens import SpecialTokenEscaper
from slipway.text.template import ChatTemplate
from slipway.text.template_features import TemplateFeatures
from slipway.text.tokenizer import Tokenizer
from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.choice import PARSERS, parser
from slipway.text.tool_calls.description import described
from slipway.text.tool_calls.enforced import EnforcedParser


@dataclass(frozen=True, slots=True)
class Prompter:
    """What turns bodies into requests for one engine; read from the engine's folder."""

    manifest: Manifest
    tokenizer: Tokenizer
    template: ChatTemplate
    habits: TemplateFeatures
    quotation: SpecialTokenEscaper

    @classmethod
    def load(cls, directory: Path) -> "Prompter":
        """Read the manifest and the files about text, whose digests are checked.

        The weights belong to the process that runs them: it checks them, and the versions it needs.
        Raises EngineRefused.
        """
        manifest = Manifest.read(directory)
        templates = {template.FILE_NAME, template.TOOL_USE_FILE_NAME} & manifest.files.keys()
        manifest.verify(directory, [*tokenizer.FILES, *templates])
        words = Tokenizer.load(directory)
        chats = ChatTemplate.load(directory, words)
        habits = TemplateFeatures.read(chats.source, manifest.chat.tool_calls)
        return cls(manifest, words, chats, habits, SpecialTokenEscaper.of(words))

    def chat(self, body: ChatCompletionRequest, request_id: str) -> GenerationRequest:
        """Raises InvalidRequest, or ContextLengthExceeded with both lengths."""
        return self._request(body, request_id, *self.quotation.encode(self._chat_prompt(body)), "messages")

    def interpreted(
        self, body: ChatCompletionRequest, asked: GenerationRequest, pieces: AsyncGenerator[Piece, None]
    ) -> AsyncGenerator[Piece, None]:
        """An answer to `asked`, which came of `body`, told apart into thoughts, text and calls."""
        bound = asked.sampling.grammar is not None
        reasoning = None
        if self.habits.thinks and not bound:
            reasoning = ReasoningSplitter(asked.prompt or self.tokenizer.text(asked.prompt_token_ids))
        names = [tool.function.name for tool in body.offered]
        calls: ToolCallParser | None = None
        if names:
            calls = EnforcedParser(names) if bound else parser(self._call_format(), names)
        if reasoning is None and calls is None:
            return pieces
        one = body.parallel_tool_calls is False
        return Interpretation(AnswerParser(reasoning, calls), body.enforces_calls, one).of(pieces)

    def count(self, body: ChatCompletionRequest) -> int:
        """How many tokens the prompt of a chat has, whether they fit or not. Raises InvalidRequest."""
        return len(self.quotation.encode(self._chat_prompt(body))[1])

    def completions(self, body: CompletionRequest, request_id: str) -> list[GenerationRequest]:
        """One for each prompt. Raises InvalidRequest, or ContextLengthExceeded with both lengths."""
        requests = []
        for index, prompt in enumerate(body.prompts):
            field = f"prompt[{index}]" if len(body.prompts) > 1 else "prompt"
            name = f"{request_id}.{index}" if index else request_id
            if isinstance(prompt, str):
                special = body.add_special_tokens is not False
                ids: Sequence[int] = self.tokenizer.encode(prompt, special)
                # Whoever encodes the text again would put before it what is not wanted here.
                text = prompt if special else ""
            else:
                check_ids(prompt, self.manifest, field)
                text, ids = "", prompt
            requests.append(self._request(body, name, text, ids, field))
        return requests

    def tokens(self, body: TokenizeRequest) -> Tokens:
        """What `body` is for the model. Raises InvalidRequest unless it is a prompt or messages."""
        if (body.prompt is None) == (body.messages is None):
            raise InvalidRequest("Give either prompt or messages.", "prompt")
        if body.messages is not None and body.add_special_tokens is not None:
            raise InvalidRequest(
                "add_special_tokens is given together with messages, of which the chat template says what "
                "comes before them; leave it out.",
                "add_special_tokens",
            )
        if body.messages is None:
            ids = self.tokenizer.encode(body.prompt or "", body.add_special_tokens is not False)
        else:
            check_conversation(body.messages)
            _, ids = self.quotation.encode(self.template.render(self._turns(body.messages)))
        return Tokens(
            count=len(ids),
            max_model_len=self.manifest.limits.max_seq_len,
            tokens=ids,
            token_strs=self.tokenizer.entries(ids) if body.return_token_strs else None,
        )

    def text(self, body: DetokenizeRequest) -> Detokenized:
        """The text of `body`'s tokens. Raises InvalidRequest for one that the model does not have."""
        check_ids(body.tokens, self.manifest, "tokens")
        return Detokenized(prompt=self.tokenizer.text(body.tokens))

    def echoes(self, body: CompletionRequest) -> list[str]:
        """What comes before each answer; none at all unless `body` asks for it."""
        if not body.echo:
            return []
        texts = [
            prompt if isinstance(prompt, str) else self.tokenizer.text(prompt) for prompt in body.prompts
        ]
        return [text for text in texts for _ in range(body.n or 1)]

    def _chat_prompt(self, body: ChatCompletionRequest) -> str:
        tools = tools_offered(body)
        bound = bool(tools) and binds_calls(body)
        if tools and not bound:
            self._call_format()
        return self.template.render(
            self._turns(body.messages, tools, bound),
            tools=tools if tools and self.habits.knows_tools else None,
            add_generation_prompt=body.add_generation_prompt is not False,
            continue_final_message=bool(body.continue_final_message),
            kwargs=body.chat_template_kwargs,
        )

    def _turns(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), enforced: bool = False
    ) -> list[Mapping[str, Any]]:
        """The conversation as the chat template reads it, tools in words where it knows none."""
        turns = conversation(messages, self.manifest.chat.system)
        if not self.manifest.target.text_only:
            turns = self.quotation.escape(turns)
        if self.habits.knows_tools:
            return turns
        return described(turns, tools, EnforcedParser if enforced else PARSERS[self._call_format()])

    def _call_format(self) -> ToolCallFormat:
        """Raises NotOffered where calls that the model writes by itself could not be read."""
        if self.habits.calls is None:
            raise NotOffered(
                "tools are given, but how this model writes a call is none of the formats that this server "
                "reads; enforce a call with tool_choice (required, or a named function), or give "
                "chat.tool_calls in the recipe, if it is one of them after all.",
                "tools",
            )
        return self.habits.calls

    def _request(
        self, body: GenerationBody, request_id: str, prompt: str, ids: Sequence[int], field: str
    ) -> GenerationRequest:
        check(body, self.manifest)
        return GenerationRequest(
            request_id=request_id,
            prompt=prompt,
            prompt_token_ids=tuple(ids),
            sampling=sampling(body, len(ids), self.manifest, field),
            stop=stop_strings(body, self.manifest),
            show_stop=bool(body.include_stop_str_in_output),
        )
