"""Who asks: the keys that are valid now, and what each may do; `gateway.keys.access` looks them up here."""

import hmac
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slipway.gateway.errors import (
    AdminOnly,
    InvalidApiKey,
    ModelForbidden,
    RateLimitExceeded,
    TokenLimitExceeded,
)
from slipway.gateway.keys import file as key_file
from slipway.gateway.keys.allowance import Allowance
from slipway.gateway.keys.file import KeyEntry, KeyFileError

_LOOK_EVERY_S = 1.0
# Of the file: when it was written, how long it is, and which one it is.
_Signature = tuple[int, int, int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what they may do. The defaults are for a server without keys: everything.

    models: None means all.
    """

    name: str | None = None
    models: frozenset[str] | None = None
    admin: bool = True
    requests: Allowance | None = None
    tokens: Allowance | None = None

    def may_use(self, model: str) -> bool:
        """Whether the key is for this model."""
        return self.models is None or model in self.models

    def check_model(self, model: str) -> None:
        """Raise ModelForbidden unless the key is for this model."""
        if not self.may_use(model):
            raise ModelForbidden(
                f"The key {self.name} is not for the model {model[:100]!r}; use one of: "
                f"{', '.join(sorted(self.models or ())) or 'none'}."
            )

    def check_admin(self) -> None:
        """Raise AdminOnly unless the key may load and unload models."""
        if not self.admin:
            raise AdminOnly(
                f"The key {self.name} may not do that; use one that was made with `keys new NAME --admin`."
            )

    def enter(self) -> None:
        """Count a request. Raises RateLimitExceeded or TokenLimitExceeded: it does not count then."""
        if self.requests is not None and (wait := self.requests.wait_s(1)):
            raise RateLimitExceeded(
                f"The key {self.name} has had its {self.requests.per_minute} requests a minute; "
                f"try again in {math.ceil(wait)} s.",
                math.ceil(wait),
            )
        # Whoever has overdrawn waits until there is a token again.
        if self.tokens is not None and (wait := self.tokens.wait_s(1)):
            raise TokenLimitExceeded(
                f"The key {self.name} has had its {self.tokens.per_minute} tokens a minute; "
                f"try again in {math.ceil(wait)} s.",
                math.ceil(wait),
            )
        if self.requests is not None:
            self.requests.take(1)

    def charge(self, tokens: int) -> None:
        """Count tokens of a prompt or an answer."""
        if self.tokens is not None:
            self.tokens.take(tokens)

    def headers(self) -> dict[str, str]:
        """OpenAI's headers about the limits, as of now."""
        told: dict[str, str] = {}
        for what, allowance in (("requests", self.requests), ("tokens", self.tokens)):
            if allowance is not None:
                told[f"x-ratelimit-limit-{what}"] = str(allowance.per_minute)
                told[f"x-ratelimit-remaining-{what}"] = str(max(0, int(allowance.left)))
                told[f"x-ratelimit-reset-{what}"] = f"{allowance.reset_s:.3f}s"
        return told


ANYBODY = Caller()


class Keys:
    """The keys of a file, read again when it changes; one that is broken then leaves those before valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises KeyFileError."""
        self._path = path
        self._clock = clock
        self._signature = _signature(path)
        self._callers: list[tuple[bytes, Caller]] = []
        self._accept(key_file.read(path))
        self._looked_at = clock()

    def caller(self, key: bytes | None) -> Caller:
        """Whose key this is. Raises InvalidApiKey, which says nothing of the key."""
        self._look()
        if not key:
            raise InvalidApiKey(
                "This server asks for a key and the request has none; send `Authorization: Bearer KEY`."
            )
        asked = key_file.digest(key).encode()
        found: Caller | None = None
        for sha256, caller in self._callers:  # All of them, so that the time does not tell which.
            if hmac.compare_digest(sha256, asked):
                found = caller
        if found is None:
            raise InvalidApiKey("The key is not valid here: it is mistyped, or it was revoked.")
        return found

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        signature = _signature(self._path)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            entries = key_file.read(self._path)
        except KeyFileError as error:
            _log.error("%s The keys read before stay valid.", error)
            return
        self._accept(entries)
        _log.warning("Read the keys again: %d in %s.", len(self._callers), self._path)

    def _accept(self, entries: dict[str, KeyEntry]) -> None:
        """A key keeps what it has used of a limit that did not change."""
        before = {caller.name: caller for _, caller in self._callers}
        self._callers = [
            (entry.sha256.encode(), _caller(name, entry, before.get(name, ANYBODY)))
            for name, entry in entries.items()
            if not entry.disabled
        ]


def _caller(name: str, entry: KeyEntry, before: Caller) -> Caller:
    return Caller(
        name,
        None if entry.models is None else frozenset(entry.models),
        entry.admin,
        _allowance(entry.requests_per_minute, before.requests),
        _allowance(entry.tokens_per_minute, before.tokens),
    )


def _allowance(per_minute: int | None, before: Allowance | None) -> Allowance | None:
    if per_minute is None:
        return None
    return before if before is not None and before.per_minute == per_minute else Allowance(per_minute)


def _signature(path: Path) -> _Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
