"""vLLM's OpenAI server with an engine that takes no time inside: `vllm_frontend.py CHECKPOINT NAME PORT`.

Started by `bench.frontend_rounds` with a Python that has vllm. Everything between socket and engine is vLLM's
own. Its engine runs in another process and sends token ids, which the server makes text of; here the outputs
are made in place, as text, so that what this server costs is less than what vLLM's costs in truth. Prompts
say how an answer is cut (`plan` in `bench.instant_triton`).
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.entry import build_and_serve
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.launchers.launcher import setup_server
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.renderers import renderer_from_config
from vllm.sampling_params import SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.input_processor import InputProcessor

PLAN = re.compile(r'{"tokens_per_message": (\d+), "pause_s": ([\d.]+)}')
TOKEN, TOKEN_ID = " word", 1
QUIET = ["--disable-log-stats", "--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"]


class InstantEngine(EngineClient):
    """What vLLM's server asks of an engine when it answers chats."""

    is_running, is_stopped, errored, dead_error = True, False, False, RuntimeError()

    def __init__(self, config: VllmConfig) -> None:
        self.vllm_config, self.model_config = config, config.model_config
        self.renderer = renderer_from_config(config)
        self.input_processor = InputProcessor(config, self.renderer)

    async def generate(
        self, prompt: dict[str, Any], sampling_params: SamplingParams, request_id: str, **others: Any
    ) -> AsyncIterator[RequestOutput]:
        """The first token, then `tokens_per_message` at a time, `pause_s` apart."""
        ids = list(prompt["prompt_token_ids"])
        shape = PLAN.search(self.renderer.tokenizer.decode(ids))
        many, pause_s, left, now = int(shape[1]), float(shape[2]), sampling_params.max_tokens, 1
        while left > 0:
            now = min(now, left)
            left -= now
            finish = None if left else "length"
            output = CompletionOutput(0, TOKEN * now, [TOKEN_ID] * now, None, None, finish_reason=finish)
            yield RequestOutput(request_id, None, ids, None, [output], finished=not left)
            now = many
            await asyncio.sleep(pause_s)

    async def get_supported_tasks(self) -> tuple[str, ...]:
        """It generates, and no more."""
        return ("generate",)


async def _nothing(self: EngineClient, *arguments: Any, **named: Any) -> None:
    """Stands for what the server never asks while chats are answered."""


for _name in InstantEngine.__abstractmethods__:
    setattr(InstantEngine, _name, _nothing)
InstantEngine.__abstractmethods__ = frozenset()


async def main(checkpoint: str, name: str, port: str) -> None:
    """Serve until the process is ended."""
    asked = ["--model", checkpoint, "--served-model-name", name, "--host", "127.0.0.1", "--port", port]
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args([*asked, *QUIET])
    engine = InstantEngine(AsyncEngineArgs.from_cli_args(arguments).create_engine_config())
    address, listener = setup_server(arguments, reuse_port=False)
    await (await build_and_serve(engine, address, listener, arguments))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
