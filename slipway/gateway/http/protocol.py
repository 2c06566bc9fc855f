"""A client's connection before the application sees a request: uvicorn's protocol with bounds; for `server`.

uvicorn waits for a request as long as it takes, keeps headers of any length, answers what is no HTTP in plain
text, and loses the body of a request that offers an upgrade, as Java's HttpClient does on every first one.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from slipway.contract.errors import SlipwayError
from slipway.gateway.errors import HeadTooLarge, MalformedRequest, RequestTooSlow, error_body, http_error

# Of request line and headers together; what proxies in front take is 8 to 64 KiB.
MOST_HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    """One connection.

    arrival_s: seconds for a request's head to arrive, from the connection or the head's first byte on; and
        for the rest of a body that is not wanted any more. (One that is wanted: `connection.read_body`.)
    """

    def __init__(self, *, arrival_s: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._arrival_s = arrival_s
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._whole = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio.Protocol."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol."""
        self._expected()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            too_large = isinstance(error.__context__, HeadTooLarge)
            malformed = MalformedRequest(f"What came is not HTTP/1.1 ({error}).")
            self._refuse(_head_too_large() if too_large else malformed)
        else:
            if self._in_head:
                # A header that never ends does not come to `on_header`.
                self._head_bytes += len(data)
                if self._head_bytes > MOST_HEAD_BYTES:
                    self._refuse(_head_too_large())

    def on_message_begin(self) -> None:
        """httptools: the first byte of a request."""
        super().on_message_begin()
        self._head_bytes, self._in_head, self._whole = 0, True, False
        self._expect()

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the request line."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header, or a trailer after a body in chunks."""
        self._count(name + value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """httptools: the head is here."""
        self._in_head = False
        if not self._offers_upgrade():
            self._expected()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """httptools: head and body are here."""
        if not self._offers_upgrade():
            self._whole = True
            self._expected()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when the application has answered, which may be before the request's end."""
        super().on_response_complete()
        if not self._whole:
            self._expect()

    def _offers_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the request again without its `Upgrade`: the parser thinks that it ends with its head."""
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _count(self, part: bytes) -> None:
        self._head_bytes += len(part)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise _head_too_large()

    def _expect(self) -> None:
        """Give the client `arrival_s` from now."""
        self._expected()
        self._deadline = self.loop.call_later(self._arrival_s, self._too_slow)

    def _expected(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._in_head:
            self._refuse(RequestTooSlow(f"The request's head did not arrive within {self._arrival_s:g} s."))
        else:
            self.transport.close()

    def _refuse(self, error: SlipwayError) -> None:
        """Answer and close; only close when an answer is under way, of which this would become a part."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            content = error_body(error).model_dump_json().encode()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[http_error(error).status] + head % len(content) + content)
        self.transport.close()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"Request line and headers are longer than {MOST_HEAD_BYTES} bytes; send fewer.")
