"""A gateway that is running, as tests talk to it."""

from dataclasses import dataclass

import httpx
import psutil
from anthropic import Anthropic
from openai import AsyncOpenAI, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from engines.recipe import Limits


@dataclass(frozen=True)
class Gateway:
    url: str
    metrics_url: str
    model: str
    limits: Limits
    server: int  # the process whose child or grandchild the engine is

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def anthropic(self) -> Anthropic:
        return Anthropic(base_url=self.url, api_key="none", max_retries=0, timeout=60)

    def post(self, path: str, **options: object) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=60, **options)

    def running_requests(self) -> int:
        """What the engine itself counts."""
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
        [engine] = [process for process in family if "runtime.worker" in process.cmdline()]
        return engine
