"""The names of the Triton models that serve one engine.

The ensemble has the engine's name, and the names of its stages begin with it, so several engines share a
repository. An engine for TensorRT-LLM's PyTorch backend is a single model with the engine's name.
"""


def preprocessing(engine: str) -> str:
    """Text to token ids."""
    return f"{engine}.preprocessing"


def engine_stage(engine: str) -> str:
    """Token ids to token ids; also takes `stop` requests, which an ensemble does not pass on."""
    return f"{engine}.engine"


def postprocessing(engine: str) -> str:
    """Token ids to text."""
    return f"{engine}.postprocessing"


def all_names(engine: str) -> tuple[str, ...]:
    """Every model that an engine of this name may have; the one that clients call comes last."""
    return preprocessing(engine), engine_stage(engine), postprocessing(engine), engine
