"""What an operator decides about requests; read from the command line by `gateway.__main__`."""

from dataclasses import dataclass, field

from slipway.gateway.keys.access import Access


@dataclass(frozen=True, slots=True)
class Settings:
    """The defaults of the command line.

    max_body_bytes: longest body that is read.
    arrival_s: seconds for a request's head, and for its body.
    max_queue: answers that may wait for each model; past it, 429. With 16 slots the last of 128 waits as long
        as eight answers take, which is about what people and proxies wait; and the largest `n`, 128, fits.
    max_request_tokens: tokens that the answers of one request may have together: 128 answers of 2,048, or 32
        that fill a context of 8,192.
    timeout_s: for a whole request, waiting included. A client that leaves ends its answer, so this is for one
        that stays and does not read, which would hold its place. An hour, because a long stream from a slow
        machine is well and alive after half of it: 8,192 tokens at 5 per second take 27 minutes.
    access_log: write a line for each request.
    access: who may ask.
    """

    max_body_bytes: int = 4 * 1024 * 1024
    arrival_s: float = 30.0
    max_queue: int = 128
    max_request_tokens: int = 262_144
    timeout_s: float = 3600.0
    access_log: bool = False
    access: Access = field(default_factory=Access)
