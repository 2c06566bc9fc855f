"""A gateway that runs, and clients for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest
from anthropic import Anthropic
from openai import AsyncOpenAI, BadRequestError, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from slipway.contract.recipe import Limits

# For tests of what only our runtime has: a worker process, its counters, its prefix cache.
of_the_runtime = pytest.mark.parametrize("gateway", ["local", "triton"], indirect=True)


@dataclass(frozen=True)
class Gateway:
    url: str
    metrics_url: str
    model: str
    limits: Limits
    server: int  # the process that started the engine, directly or not
    lacks: frozenset[str] = field(default=frozenset(), kw_only=True)  # fields that the engine cannot do
    default_max_tokens: int = field(kw_only=True)

    @contextmanager
    def can(self, ability: str, called: str | None = None) -> Iterator[None]:
        """The block works with an engine that has the ability; others answer 400 and name the field.

        called: the field's name in this request, where it differs.
        """
        if ability not in self.lacks:
            yield
            return
        name = called or ability
        with pytest.raises(BadRequestError, match=f"{name} is .*, which {self.model} cannot do: ") as refused:
            yield
        assert refused.value.param == name

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def anthropic(self) -> Anthropic:
        return Anthropic(base_url=self.url, api_key="none", max_retries=0, timeout=60)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=60, **options)

    def running_requests(self) -> int:
        """The number of requests that the engine counts as running."""
        return self.metric("slipway_running_requests")

    def metric(self, name: str) -> int:
        families = text_string_to_metric_families(httpx.get(self.metrics_url).text)
        (value,) = (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels["model"] == self.model
        )
        return int(value)

    def engine_process(self) -> psutil.Process:
        family = psutil.Process(self.server).children(recursive=True)
        [engine] = [process for process in family if "slipway.runtime.worker" in process.cmdline()]
        return engine
