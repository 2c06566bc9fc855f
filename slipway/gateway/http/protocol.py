"""uvicorn's HTTP protocol with limits on the time and the size of a request's head.

uvicorn itself waits for a request without a limit and keeps headers of any length. It answers malformed HTTP
in plain text. It loses the body of a request that offers an upgrade, which Java's HttpClient does first.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from slipway.contract.errors import SlipwayError
from slipway.gateway.errors import HeadTooLarge, MalformedRequest, RequestTooSlow, http_error
from slipway.gateway.http.watched_transport import WatchedTransport
from slipway.gateway.shapes.error import error_body

# Request line and headers together, as they were sent; proxies allow 8 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024
# What the parser leaves out: of the request line, with a short method and the empty line at the end, and of a
# header.
_LINE_EXTRA, _HEADER_EXTRA = len(b"GET  HTTP/1.1\r\n\r\n"), len(b": \r\n")
# What a client has not read yet is kept up to here, and then its answer waits. 8,000 tokens with 20 log-probs
# each have 6.5 MB, so the answer of a slow reader gives back its place at the engine when it has ended.
MAX_UNREAD_BYTES = 8 * 1024 * 1024
_STALL_S = 60.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    arrival_s: seconds for a request's head to arrive, from the connection or the head's first byte on; also
        for the rest of a body that the application did not read. (`connection.read_body` limits the others.)
    """

    def __init__(self, *, arrival_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._arrival_s = arrival_s
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._received = 0
        self._in_head = False
        self._follows = False
        self._complete = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio.Protocol."""
        transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        super().connection_made(WatchedTransport(transport, self.loop, _STALL_S))  # type: ignore[arg-type]
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol."""
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol."""
        self._unset_keepalive_if_required()
        self._follows = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            refusal = error.__context__
            malformed = MalformedRequest(f"The request is not HTTP/1.1 ({error}).")
            self._refuse(refusal if isinstance(refusal, SlipwayError) else malformed)
        else:
            if self._in_head and not self._follows:
                # The parser calls `on_header` only after the end of a header.
                self._received += len(data)
                if self._received > MAX_HEAD_BYTES:
                    self._refuse(_head_too_large())

    def on_message_begin(self) -> None:
        """httptools: the first byte of a request arrived."""
        super().on_message_begin()
        self._head_bytes, self._received, self._in_head, self._complete = _LINE_EXTRA, 0, True, False
        self._start_timer()

    def on_url(self, url: bytes) -> None:
        """httptools: a part of the request line arrived."""
        self._add_to_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header arrived, or a trailer after a body in chunks."""
        self._add_to_head(len(name) + len(value) + _HEADER_EXTRA)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """httptools: the head is complete."""
        self._in_head = False
        if not self._offers_upgrade():
            self._check_host()
            self._cancel_timer()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """httptools: head and body are complete."""
        if not self._offers_upgrade():
            # What else is in this piece of data belongs to the next request.
            self._complete = self._follows = True
            self._cancel_timer()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """uvicorn: the application has answered, maybe before the end of the request."""
        super().on_response_complete()
        if not self._complete:
            self._start_timer()

    def _offers_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its `Upgrade`; with it, the parser ignores the body."""
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _add_to_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()

    def _check_host(self) -> None:
        """RFC 9112, section 3.2: exactly one Host, which proxies and the application read alike."""
        count = [name for name, _ in self.headers].count(b"host")
        if count > 1 or (not count and self.parser.get_http_version() == "1.1"):
            raise MalformedRequest(
                f"The request has {count} Host headers, and HTTP/1.1 requires one; send the server's name."
            )

    def _start_timer(self) -> None:
        """Give the client `arrival_s` seconds from now."""
        self._cancel_timer()
        self._timer = self.loop.call_later(self._arrival_s, self._too_slow)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._in_head:
            self._refuse(RequestTooSlow(f"The request's head did not arrive within {self._arrival_s:g} s."))
        else:
            self.transport.close()

    def _refuse(self, error: SlipwayError) -> None:
        """Answer and close the connection; only close it if another response has started."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            content = error_body(error).model_dump_json().encode()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[http_error(error).status] + head % len(content) + content)
        self.transport.close()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"Request line and headers are longer than {MAX_HEAD_BYTES} bytes; send fewer headers."
    )
