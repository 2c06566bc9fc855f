"""The key of a server that asks for one: the option of the commands `run` and `ended`, and the header."""

from typing import Annotated

import typer

from bench.answer import RequestFailed

ADVICE = "Put a valid key into SLIPWAY_API_KEY (or OPENAI_API_KEY), or give --api-key."

ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar=["SLIPWAY_API_KEY", "OPENAI_API_KEY"],
        help="The key, where the server asks for one; others on this machine see options, not variables.",
    ),
]


def header(api_key: str | None) -> dict[str, str]:
    """What tells the server who asks. Raises RequestFailed for what cannot be a key."""
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise RequestFailed(f"The API key has characters that no key has. {ADVICE}")
    return {"Authorization": f"Bearer {api_key}"}
