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
CLIENTS = {client.name: client for client in _ALL}
