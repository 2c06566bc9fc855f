"""Names of the Triton models that make up one engine; written by `ensemble`, called by `gateway`.

The ensemble is named like the engine and its stages hang below it, so several engines share a repository. An
engine for target tensorrt-llm-llmapi is one model, which is named like it.
"""


def preprocessing(engine: str) -> str:
    """Text to token ids."""
    return f"{engine}.preprocessing"


def engine_stage(engine: str) -> str:
    """Token ids to token ids; also takes the `stop` requests that an ensemble does not pass on."""
    return f"{engine}.engine"


def postprocessing(engine: str) -> str:
    """Token ids to text."""
    return f"{engine}.postprocessing"


def all_names(engine: str) -> tuple[str, ...]:
    """Every model that an engine of this name may have, what clients call last."""
    return preprocessing(engine), engine_stage(engine), postprocessing(engine), engine
