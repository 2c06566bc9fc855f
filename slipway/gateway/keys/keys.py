"""The callers: the API keys that are valid now, and what each may do and use."""

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

_REFRESH_S = 1.0
# Modification time, size and inode of the key file.
_Signature = tuple[int, int, int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of one key, and what the key allows. The defaults, for a server without keys, allow all.

    models: None means all. requests, tokens: per minute; None means no limit.
    """

    name: str | None = None
    models: frozenset[str] | None = None
    admin: bool = True
    requests: Allowance | None = None
    tokens: Allowance | None = None

    def may_use(self, model: str) -> bool:
        """Return whether the key is for this model."""
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
        """Count a request, unless it is refused. Raises RateLimitExceeded or TokenLimitExceeded."""
        if self.requests is not None and (wait := self.requests.wait_s(1)):
            raise RateLimitExceeded(
                f"The key {self.name} has used its {self.requests.per_minute} requests of this minute; "
                f"try again in {math.ceil(wait)} s.",
                math.ceil(wait),
            )
        # A caller who has overdrawn waits until one token is left.
        if self.tokens is not None and (wait := self.tokens.wait_s(1)):
            raise TokenLimitExceeded(
                f"The key {self.name} has used its {self.tokens.per_minute} tokens of this minute; "
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
        """Return OpenAI's headers about the limits, as of now."""
        headers: dict[str, str] = {}
        for what, allowance in (("requests", self.requests), ("tokens", self.tokens)):
            if allowance is not None:
                headers[f"x-ratelimit-limit-{what}"] = str(allowance.per_minute)
                headers[f"x-ratelimit-remaining-{what}"] = str(max(0, int(allowance.left)))
                headers[f"x-ratelimit-reset-{what}"] = f"{allowance.reset_s:.3f}s"
        return headers


# The caller of a server without keys.
UNRESTRICTED = Caller()


class Keys:
    """The keys of a file, read again when it changes. If that fails, the keys read before stay valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises KeyFileError."""
        self._path = path
        self._clock = clock
        self._signature = _signature(path)
        self._callers: list[tuple[bytes, Caller]] = []
        self._set_callers(key_file.read(path))
        self._refreshed_at = clock()

    def caller(self, key: bytes | None) -> Caller:
        """Return the caller with this key. Raises InvalidApiKey, which does not quote the key."""
        self._refresh()
        if not key:
            raise InvalidApiKey("The request has no API key; send it as `Authorization: Bearer KEY`.")
        asked = key_file.digest(key).encode()
        found: Caller | None = None
        for sha256, caller in self._callers:  # No early end: the time must not tell which.
            if hmac.compare_digest(sha256, asked):
                found = caller
        if found is None:
            raise InvalidApiKey("The API key is not valid here: it is mistyped, or it was revoked.")
        return found

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._refreshed_at < _REFRESH_S:
            return
        self._refreshed_at = now
        signature = _signature(self._path)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            entries = key_file.read(self._path)
        except KeyFileError as error:
            _log.error("%s The keys read before stay valid.", error)
            return
        self._set_callers(entries)
        _log.warning("Read the keys again: %d valid in %s.", len(self._callers), self._path)

    def _set_callers(self, entries: dict[str, KeyEntry]) -> None:
        """Replace the callers; an allowance whose limit is the same keeps its state."""
        before = {caller.name: caller for _, caller in self._callers}
        self._callers = [
            (entry.sha256.encode(), _caller(name, entry, before.get(name, UNRESTRICTED)))
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
