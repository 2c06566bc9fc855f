"""Whatever comes in: an answer in OpenAI's shape within the time allowed, no growth; and it goes on."""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support.instant_gateway import InstantGateway, instant_gateway

# How long a request may take to arrive, and when a busy machine has noticed at the latest.
ARRIVAL_S, PATIENCE_S = 0.3, 30.0
CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n"
# What jiter, Python and JSON libraries stumble over, as JSON text.
VALUES = {
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep, and no more than is read": "[" * 190 + "]" * 190,
    "1e400": "1e400",
    "100,000 digits": "9" * 100_000,
    "4,299 digits": "-" + "9" * 4_299,
    "5,000 decimals": "1." + "9" * 5_000,
    "NaN": "NaN",
    "lone surrogate": '"\\ud800"',
    "NUL": '"\\u0000"',
    "a megabyte": '"' + "x" * 1_000_000 + '"',
    "true": "true",
    "twice the same key": '{"a": 1, "a": 2}',
}
FIELDS = ("max_tokens", "seed", "stop", "user", "metadata", "response_format", "tools", "nothing", "model")


@pytest.fixture(scope="module")
def gateway(engine_dir: Path) -> Iterator[InstantGateway]:
    with instant_gateway(engine_dir, "--arrival-timeout", str(ARRIVAL_S)) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def server_goes_on(gateway: InstantGateway) -> Iterator[None]:
    yield
    asked = {"model": gateway.model, "prompt": "Hi", "max_tokens": 1}
    assert httpx.post(f"{gateway.url}{PLAIN}", json=asked, timeout=60).json()["choices"][0]["text"]


def refused(status: int, content: bytes) -> str:
    """The error's code, once it has OpenAI's shape."""
    assert 400 <= status < 500, content
    error = json.loads(content)["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith((".", "…"))
    assert len(error["message"]) < 1000, "it shows the client's value, not all of it"
    return str(error["code"])


def talk(gateway: InstantGateway, data: bytes, most_s: float = 5) -> tuple[int, bytes]:
    """Status and content of the one response to `data`, after which the server closes the connection."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.settimeout(most_s)
        response = b""
        try:
            client.sendall(data)
            while piece := client.recv(65536):
                response += piece
        except ConnectionError:
            pass  # closed while there was more to send; what came before counts
    head, _, content = response.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), content


@pytest.mark.parametrize("field", FIELDS)
def test_values_without_a_meaning_are_answered(gateway: InstantGateway, field: str) -> None:
    fields = {"model": gateway.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    fields.pop(field, None)
    headers = {"content-type": "application/json"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as client:
        for name, value in VALUES.items():
            body = json.dumps(fields)[:-1] + f', "{field}": {value}}}'
            response = client.post(CHAT, content=body)
            if response.status_code != 200:
                assert refused(response.status_code, response.content), name


@pytest.mark.parametrize(
    "schema", ['{"maximum": %s}' % ("9" * 4000), '{"maximum": 1e400}', '{"a":' * 150 + "1" + "}" * 150]
)
def test_schemas_of_such_values_are_answered(gateway: InstantGateway, schema: str) -> None:
    fields = {"model": gateway.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    chat = json.dumps(fields)[:-1] + ", "
    for format_ in (
        f'"response_format": {{"type": "json_schema", "json_schema": {{"name": "x", "schema": {schema}}}}}}}',
        f'"structured_outputs": {{"json": {schema}}}}}',
    ):
        headers = {"content-type": "application/json"}
        response = httpx.post(f"{gateway.url}{CHAT}", content=chat + format_, headers=headers)
        assert response.status_code == 200 or refused(response.status_code, response.content)


@pytest.mark.parametrize(
    ("encode", "code"),
    [
        (lambda text: text.encode("utf-16"), "invalid_json"),
        (lambda text: b"\xef\xbb\xbf" + text.encode(), "invalid_json"),
        (lambda text: text.encode("latin-1"), "invalid_json"),
        (lambda text: gzip.compress(text.encode()), "invalid_json"),
        (lambda text: text.encode() * 2, "invalid_json"),
        (lambda text: text.encode() + b"\0", "invalid_json"),
        (lambda text: b"x" * 10_000_000, "request_too_large"),
    ],
    ids=["UTF-16", "byte order mark", "Latin-1", "gzip", "two documents", "NUL after it", "10 MB"],
)
def test_what_is_not_one_document_in_utf_8_is_refused(
    gateway: InstantGateway, encode: Callable[[str], bytes], code: str
) -> None:
    body = encode(json.dumps({"model": gateway.model, "prompt": "é", "max_tokens": 1}, ensure_ascii=False))
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{gateway.url}{PLAIN}", content=body, headers=headers)
    assert refused(response.status_code, response.content) == code


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: -1\r\n\r\nabc",
        b"GET /health/live HTTP/1.1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        GET + b"Host: y\r\n\r\n",
        POST + b"Content-Length: abc\r\n\r\nabc",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
        POST + b"X: a\0b\r\n\r\n",
        POST + b"X: a\r\n b\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
    ],
)
def test_what_is_not_http_is_refused_in_openais_shape(gateway: InstantGateway, data: bytes) -> None:
    status, content = talk(gateway, data)
    assert (status, refused(status, content)) == (400, "invalid_http")


def test_a_body_longer_than_declared_is_the_next_request_and_refused(gateway: InstantGateway) -> None:
    body = json.dumps({"model": gateway.model, "prompt": "Hi", "max_tokens": 1}).encode()
    status, content = talk(gateway, POST + b"Content-Length: %d\r\n\r\n" % (len(body) - 5) + body)
    assert refused(status, content) == "invalid_http"


@pytest.mark.parametrize(
    "data",
    [
        b"".join([GET, *(b"X-%d: %d\r\n" % (number, number) for number in range(10_000)), b"\r\n"]),
        GET + b"X: " + b"y" * 20_000_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["many headers", "a header of 20 MB", "a path of 100 KB"],
)
def test_a_flood_of_headers_is_refused(gateway: InstantGateway, data: bytes) -> None:
    before = gateway.server.memory_info().rss
    status, content = talk(gateway, data)
    # 0: the client was still sending when the server had closed, and so lost what it said.
    assert status == 0 or (status, refused(status, content)) == (431, "headers_too_large")
    assert gateway.server.memory_info().rss - before < 4_000_000


@pytest.mark.parametrize(
    ("length", "status"), [(64 * 1024, 200), (64 * 1024 + 1, 431)], ids=["at the limit", "one byte over"]
)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_head_counts_as_it_was_sent(gateway: InstantGateway, length: int, status: int, pieces: int) -> None:
    count, rest = divmod(length - len(GET + CLOSE + b"\r\n") - len("y: \r\n"), len("x: 1\r\n"))
    head = GET + CLOSE + b"x: 1\r\n" * count + b"y: " + b"1" * rest + b"\r\n\r\n"
    assert len(head) == length
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        for at in range(0, length, -(-length // pieces)):
            client.sendall(head[at : at - (-length // pieces)])
            time.sleep(0.02)
        assert client.recv(65536).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "data", [b"GET /hea", b"GET /\r\n", GET, POST + b"Content-Length: 100\r\n\r\n{"], ids=repr
)
def test_a_request_that_does_not_arrive_is_given_up(gateway: InstantGateway, data: bytes) -> None:
    started = time.monotonic()
    status, content = talk(gateway, data)
    assert (status, refused(status, content)) == (408, "request_timeout")
    assert ARRIVAL_S * 0.9 < time.monotonic() - started < PATIENCE_S


async def test_drops_of_head_or_body_win_no_time(gateway: InstantGateway) -> None:
    async def drip(first: bytes) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        started = time.monotonic()
        writer.write(first)
        while not reader.at_eof():
            writer.write(b"a")
            try:
                async with asyncio.timeout(0.1):
                    await reader.read(65536)
            except TimeoutError:
                continue
            except ConnectionError:  # closed while more was on its way; the reader says so for ever
                break
        writer.close()
        return time.monotonic() - started

    endless = b"Content-Length: 1000000\r\n\r\n"
    # The last is answered at once, but the rest of it goes on arriving.
    heads = [GET + b"X: ", POST + endless, b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\n" + endless]
    assert max(await asyncio.gather(*map(drip, heads))) < PATIENCE_S


def test_a_connection_that_says_nothing_is_closed(gateway: InstantGateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.settimeout(PATIENCE_S)
        assert client.recv(1) == b""


def test_a_thousand_idle_connections_keep_no_client_out(gateway: InstantGateway) -> None:
    with ExitStack() as clients:
        for _ in range(1000):
            clients.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
        assert httpx.get(f"{gateway.url}/health/ready", timeout=60).status_code == 200


def test_a_connection_is_kept_between_requests(gateway: InstantGateway) -> None:
    with httpx.Client(base_url=gateway.url) as client:
        first = client.get("/health/live").extensions["network_stream"].get_extra_info("client_addr")
        time.sleep(1.5 * ARRIVAL_S)
        assert client.get("/health/live").extensions["network_stream"].get_extra_info("client_addr") == first


def test_head_is_answered_as_get_without_the_content(gateway: InstantGateway) -> None:
    """As `wget --spider` and load balancers ask whether the server is there."""
    with httpx.Client(base_url=gateway.url) as client:
        for path in ("/health/live", "/health/ready", "/v1/models", f"/v1/models/{gateway.model}"):
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (200, b"")
            for name in ("content-length", "content-type"):
                assert head.headers[name] == get.headers[name]
        assert client.head(CHAT).status_code == 405
        refusal = client.post("/health/live")
        assert (refusal.status_code, refusal.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/v1/models/", "//v1/models", "/models", "/v1/v1//models/"])
def test_a_path_that_is_nearly_right_is_told_the_right_one(gateway: InstantGateway, path: str) -> None:
    refusal = httpx.get(f"{gateway.url}{path}")
    assert refused(refusal.status_code, refusal.content) == "unknown_url"
    assert "; /v1/models is." in refusal.json()["error"]["message"]


def test_pipelined_requests_are_answered_in_their_order(gateway: InstantGateway) -> None:
    body = b'{"model": "nothing", "prompt": "Hi"}'
    posts = (POST + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 20
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(GET + b"\r\n" + posts + GET + CLOSE + b"\r\n")
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    assert [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", *[b"404"] * 20, b"200"]


def test_an_offer_to_upgrade_costs_no_body(gateway: InstantGateway) -> None:
    """Java's HttpClient offers HTTP/2 with its first request."""
    body = json.dumps({"model": gateway.model, "prompt": "Hi", "max_tokens": 1}).encode()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n"
    head = POST + offer + b"Content-Length: %d\r\n\r\n" % len(body)
    for cut in (len(head), len(head) + 10, len(head) - 10, 0):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall((head + body)[:cut])
            time.sleep(0.05)
            client.sendall((head + body)[cut:] + GET + CLOSE + b"\r\n")
            answers = b"".join(iter(lambda: client.recv(65536), b""))
        assert answers.count(b"HTTP/1.1 200 OK") == 2, answers
        assert b'"completion_tokens":1' in answers


def test_bad_requests_leave_no_memory_behind(gateway: InstantGateway) -> None:
    headers = {"content-type": "application/json"}

    def many(count: int) -> None:
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as client:
            for number in range(count):
                client.post(PLAIN, json={"model": "m" * (number % 200) * 99, "prompt": f"{number}" * 1000})
                client.post(CHAT, content=b"[" * 200_000)
        for _ in range(count):
            talk(gateway, b"\0")

    many(100)
    before = gateway.server.memory_info().rss
    many(400)
    assert gateway.server.memory_info().rss - before < 8_000_000
