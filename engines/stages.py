"""Names of the Triton models that make up one engine; written by `ensemble`, called by `gateway`.

The ensemble is named like the engine and its stages hang below it, so several engines share a repository.
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
