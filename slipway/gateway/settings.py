"""The options of a gateway: each with its type, environment variable, help and default.

The reasons for some defaults:
- max_queue: of one client. With 16 slots, the last of 128 waits as long as eight answers take, which is about
  what people and proxies wait. And `n`, which is 128 at most, fits.
- max_request_tokens: 128 answers of 2,048 tokens, or 32 that fill a context of 8,192. One answer with 20
  likely tokens in each place may have 11,915 tokens, which are 10 MB of JSON.
- drain_timeout: most answers are over by then. Containers get more time to end (compose.yaml).
- timeout: a long stream from a slow machine is well and alive after half an hour: 8,192 tokens at 5 per
  second take 27 minutes. A client that leaves ends its answer; the bound is for one that stays.
- max_bodies_bytes: 64 of the longest bodies. One takes about three times its size while it is read.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from slipway.gateway.keys.access import Access

DrainTimeout = Annotated[
    float,
    Option(
        envvar="SLIPWAY_DRAIN_TIMEOUT",
        min=0,
        help="Seconds that running answers have to end after Ctrl-C or SIGTERM; a second one ends them.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator decides about a gateway, whichever backend it has."""

    host: Annotated[
        str, Option(envvar="SLIPWAY_HOST", help="Address to listen on; 0.0.0.0 for every network.")
    ] = "127.0.0.1"
    port: Annotated[int, Option(envvar="SLIPWAY_PORT", min=0, max=65535, help="0 takes a free one.")] = 9000
    keys: Annotated[
        Path | None,
        Option(
            envvar="SLIPWAY_KEYS",
            help="File of the keys that requests must have; `slipway keys --help`.",
            show_default="no key is asked for",
        ),
    ] = None
    insecure: Annotated[
        bool,
        Option(
            "--insecure",
            envvar="SLIPWAY_INSECURE",
            help="Ask for no key, though other machines reach --host.",
        ),
    ] = False
    cors_origin: Annotated[
        list[str] | None,
        Option(
            envvar="SLIPWAY_CORS_ORIGIN",
            help="Origin whose pages may read answers, such as http://localhost:3000; repeatable.",
            show_default="none",
        ),
    ] = None
    alias: Annotated[
        list[str] | None,
        Option(
            envvar="SLIPWAY_ALIAS",
            help="Further name of a model, as ALIAS=MODEL; *=MODEL takes every unknown name. Repeatable.",
            show_default="none",
        ),
    ] = None
    timeout: Annotated[
        float,
        Option(
            envvar="SLIPWAY_TIMEOUT",
            min=0.1,
            help="Seconds that a request may take from its arrival; `timeout` in its body asks for fewer.",
        ),
    ] = 3600.0
    arrival_timeout: Annotated[
        float,
        Option(
            envvar="SLIPWAY_ARRIVAL_TIMEOUT",
            min=0.1,
            help="Seconds for a request's head, and for its body.",
        ),
    ] = 30.0
    max_body_bytes: Annotated[
        int, Option(envvar="SLIPWAY_MAX_BODY_BYTES", min=1, help="Longest request body.")
    ] = 4 * 1024 * 1024
    max_bodies_bytes: Annotated[
        int,
        Option(
            envvar="SLIPWAY_MAX_BODIES_BYTES",
            min=1,
            help="Request bodies in memory, together; one client has half. Past it, 429.",
        ),
    ] = 256 * 1024 * 1024
    max_queue: Annotated[
        int,
        Option(
            envvar="SLIPWAY_MAX_QUEUE",
            min=0,
            help="Answers of one client that may wait for each model; past it, 429.",
        ),
    ] = 128
    max_request_tokens: Annotated[
        int,
        Option(
            envvar="SLIPWAY_MAX_REQUEST_TOKENS",
            min=1,
            help="Tokens of all answers to one request; each log-probability counts as one.",
        ),
    ] = 262_144
    drain_timeout: DrainTimeout = 30.0
    workers: Annotated[
        int,
        Option(
            envvar="SLIPWAY_WORKERS",
            min=1,
            help="Processes that share the port, with Triton and on Linux.",
        ),
    ] = 1
    access_log: Annotated[
        bool,
        Option("--access-log", envvar="SLIPWAY_ACCESS_LOG", help="Write a line of JSON for each request."),
    ] = False

    @property
    def aliases(self) -> dict[str, str]:
        """The further names, each with its model's. An alias without a model has an empty one."""
        return {alias: model for alias, _, model in (each.partition("=") for each in self.alias or ())}

    @cached_property
    def access(self) -> "Access":
        """Who may ask. Raises SlipwayError when the key file is not one."""
        from slipway.gateway.keys.access import Access
        from slipway.gateway.keys.keys import Keys

        return Access(None if self.keys is None else Keys(self.keys), tuple(self.cors_origin or ()))
