"""The typed errors of Slipway. Each message is one sentence: what is wrong, where, what to do."""


class SlipwayError(Exception):
    """Base of all errors that a user can fix."""


class RecipeError(SlipwayError):
    """A recipe does not say what to build: unknown key, wrong value, contradiction."""


class CheckpointError(SlipwayError):
    """A checkpoint folder cannot become an engine as it is."""


class BuildError(SlipwayError):
    """A build stopped; nothing was put in place."""


class NotWritten(SlipwayError):
    """The disk, or memory, did not allow to write a file or a folder; what was there is unchanged."""


class EngineRefused(SlipwayError):
    """A built engine must not be served: damaged, of another version, or for another device."""


class NoGpu(SlipwayError):
    """The machine has no NVIDIA GPU that a program could use."""


class EngineFailed(SlipwayError):
    """The engine stopped while it worked on a request."""


class InvalidRequest(SlipwayError):
    """A request cannot be served as it is.

    `param` is the name of the offending field as the client wrote it, or None.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthExceeded(InvalidRequest):
    """The prompt, or the prompt and the tokens asked for, do not fit the engine's context."""


class TemplateStopped(InvalidRequest):
    """The model's chat template takes too much time or memory at these messages, or ends its process."""


class ModelNotFound(SlipwayError):
    """The request names a model that this server does not have."""


class ModelUnavailable(SlipwayError):
    """The model exists but its engine is not ready (starting, or it died)."""


class ServerFailed(SlipwayError):
    """A server process cannot be started, or it ended by itself."""
