"""Which clients are run."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Client:
    """A client. package: whose version is reported. requirements: what its environment holds.

    program: its checks, for pytest or for Node's test runner.
    """

    name: str
    package: str
    requirements: Path
    program: Path

    @classmethod
    def of_python(cls, name: str, package: str, requirements: str | None = None) -> "Client":
        """A client in Python. requirements: the client that it shares them with."""
        file = f"{requirements or name}.txt"
        return cls(name, package, HERE / "requirements" / file, HERE / "programs" / f"with_{name}.py")

    @property
    def in_node(self) -> bool:
        """Whether it runs in Node."""
        return self.program.suffix == ".mjs"


_ALL = (
    Client.of_python("lm_eval", "lm_eval"),
    Client.of_python("inspect_ai", "inspect-ai"),
    Client.of_python("guidellm", "guidellm"),
    Client.of_python("aiperf", "aiperf"),
    Client.of_python("llm", "llm"),
    Client.of_python("langchain", "langchain-openai"),
    Client.of_python("llama_index", "llama-index-llms-openai-like"),
    Client("ai", "ai", HERE / "requirements" / "ai.json", HERE / "programs" / "with_ai.mjs"),
    Client.of_python("litellm", "litellm"),
    Client.of_python("litellm_proxy", "litellm", "litellm"),
)
# What a person should know beside the results.
NOTES = (
    '`llm --schema "name, people int"` allows further properties, and a small model invents them up to the '
    'default length. Give a whole schema with `"additionalProperties": false`.',
    "LlamaIndex's structured output is a tool call. A small model may repeat a free text up to `max_tokens`; "
    "a list of allowed values ends it.",
    "LiteLLM's proxy does not start without a strong `general_settings.master_key` in its own configuration.",
)
CLIENTS = {client.name: client for client in _ALL}
