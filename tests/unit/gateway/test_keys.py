"""API keys: the file, what each key may do, and a file that changes while the gateway runs."""

import logging
import os
from pathlib import Path

import pytest
import yaml

from slipway.contract.errors import ServerFailed
from slipway.contract.exposure import check_exposure
from slipway.gateway.errors import (
    AdminOnly,
    InvalidApiKey,
    ModelForbidden,
    RateLimitExceeded,
    TokenLimitExceeded,
)
from slipway.gateway.keys import file as key_file
from slipway.gateway.keys.allowance import Allowance
from slipway.gateway.keys.file import KeyFileError
from slipway.gateway.keys.keys import UNRESTRICTED, Caller, Keys


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def test_a_key_is_found_by_its_hash_and_is_not_in_the_file(path: Path) -> None:
    first = key_file.add(path, "first", {"models": ["a"]})
    second = key_file.add(path, "second", {"admin": True})
    assert first not in path.read_text()
    keys = Keys(path)
    assert (keys.caller(first.encode()).name, keys.caller(second.encode()).name) == ("first", "second")
    assert keys.caller(second.encode()).admin


def test_a_wrong_key_is_refused_and_not_quoted(path: Path) -> None:
    key = key_file.add(path, "first", {})
    wrong = (key[:-1].encode(), b"\xff\x00", yaml.safe_load(path.read_text())["first"]["sha256"].encode())
    for given in (*wrong, b"", None):
        with pytest.raises(InvalidApiKey) as caught:
            Keys(path).caller(given)
        assert key[:12] not in str(caught.value)


def test_a_running_gateway_reads_new_and_revoked_keys_within_a_second(path: Path) -> None:
    clock = Clock()
    old = key_file.add(path, "old", {}).encode()
    keys = Keys(path, clock)
    new = key_file.add(path, "new", {}).encode()
    key_file.revoke(path, "old")
    clock.now = 0.9
    assert keys.caller(old).name == "old"
    clock.now = 1.0
    assert keys.caller(new).name == "new"
    with pytest.raises(InvalidApiKey):
        keys.caller(old)


def test_a_disabled_key_is_refused(path: Path) -> None:
    key = key_file.add(path, "one", {})
    path.write_text(path.read_text() + "  disabled: true\n")
    with pytest.raises(InvalidApiKey):
        Keys(path).caller(key.encode())


@pytest.mark.parametrize("broken", ["one: {sha256: [", "one: {sha256: abc}", None])
def test_a_file_that_breaks_keeps_the_keys_valid_and_is_logged_once(
    path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    key = key_file.add(path, "one", {}).encode()
    keys = Keys(path, clock)
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    with caplog.at_level(logging.ERROR):
        for clock.now in (1.0, 2.0, 3.0):
            assert keys.caller(key).name == "one"
    assert len(caplog.records) == 1
    assert str(path) in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "one: {sha256: SECRET}",
        "one: {key: SECRET}",
        "SECRET",
        "[SECRET]",
        "one: {sha256: 'SECRET",
        "one: 'SECRET'",
        "? {SECRET: 1}\n: 2",
    ],
)
def test_a_file_with_a_key_in_the_wrong_place_is_refused_and_the_key_not_quoted(
    path: Path, content: str
) -> None:
    path.write_text(content.replace("SECRET", "sk-slipway-0123456789"))
    with pytest.raises(KeyFileError) as caught:
        key_file.read(path)
    assert str(path) in str(caught.value)
    assert "0123456789" not in str(caught.value)


def test_names_and_hashes_are_unique(path: Path) -> None:
    key_file.add(path, "one", {})
    with pytest.raises(KeyFileError, match="already has a key one"):
        key_file.add(path, "one", {})
    entry = path.read_text().splitlines()[-1]
    path.write_text(f"one:\n{entry}\none:\n{entry}\n")
    with pytest.raises(KeyFileError, match="the same name"):
        key_file.read(path)
    path.write_text(f"one:\n{entry}\ntwo:\n{entry}\n")
    with pytest.raises(KeyFileError, match="same sha256"):
        key_file.read(path)


def test_a_wrong_entry_is_named_with_what_is_allowed(path: Path) -> None:
    with pytest.raises(KeyFileError, match="a b cannot be a name; a name has up to 64 letters"):
        key_file.add(path, "a b", {})
    key_file.add(path, "one", {})
    path.write_text(path.read_text() + "  model: m\n")
    with pytest.raises(KeyFileError, match=r"one\.model is not known; an entry can have sha256, models"):
        key_file.read(path)


def test_a_key_is_valid_for_its_models_only() -> None:
    caller = Caller("one", frozenset({"a"}), admin=False)
    caller.check_model("a")
    with pytest.raises(ModelForbidden, match="'b'"):
        caller.check_model("b")
    with pytest.raises(AdminOnly):
        caller.check_admin()
    UNRESTRICTED.check_model("b")
    UNRESTRICTED.check_admin()


def test_requests_over_the_limit_are_refused_with_a_retry_after() -> None:
    clock = Clock()
    caller = Caller("one", requests=Allowance(2, clock))
    caller.enter()
    caller.enter()
    with pytest.raises(RateLimitExceeded, match="30 s") as caught:
        caller.enter()
    assert caught.value.retry_after == 30
    clock.now = 30
    caller.enter()
    assert caller.headers() == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.000s",
    }


def test_tokens_of_prompts_and_answers_count_together() -> None:
    clock = Clock()
    caller = Caller("one", tokens=Allowance(60, clock))

    caller.enter()
    caller.charge(30)
    for _ in range(4):
        caller.charge(10)
    with pytest.raises(TokenLimitExceeded) as caught:
        caller.enter()
    assert caught.value.retry_after == 11  # 10 overdrawn, and one for the next request
    clock.now = 11
    caller.enter()


def test_an_unchanged_limit_keeps_its_state_in_a_new_file(path: Path) -> None:
    clock = Clock()
    key = key_file.add(path, "one", {"requests_per_minute": 1}).encode()
    keys = Keys(path, clock)
    keys.caller(key).enter()
    key_file.add(path, "two", {})
    clock.now = 1
    with pytest.raises(RateLimitExceeded):
        keys.caller(key).enter()
    path.write_text(path.read_text().replace("requests_per_minute: 1", "requests_per_minute: 2"))
    os.utime(path, ns=(1, 1))
    clock.now = 2
    keys.caller(key).enter()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_no_keys_are_needed_on_loopback(host: str) -> None:
    check_exposure(host, keys=False, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2"])
def test_other_machines_need_keys_or_insecure(host: str) -> None:
    check_exposure(host, keys=True, insecure=False)
    check_exposure(host, keys=False, insecure=True)
    with pytest.raises(ServerFailed, match=r"--keys FILE.*--insecure"):
        check_exposure(host, keys=False, insecure=False)
