"""A granted turn of a queue, for answers that do not wait."""

from slipway.gateway.queue import EngineQueue, Turn


def turn() -> Turn:
    given = Turn(EngineQueue("model", 1, 0), "ada", (0, 0))
    given.grant()
    return given
