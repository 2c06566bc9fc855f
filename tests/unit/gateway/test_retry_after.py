"""Every error that a client may send again later says when."""

import pytest

from slipway.contract.errors import SlipwayError
from slipway.gateway.errors import TABLE, error_headers


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.status in (429, 503)])
def test_a_429_and_a_503_say_when_to_come_back(kind: type[SlipwayError]) -> None:
    told = {error_headers(kind("Later."))["retry-after"] for _ in range(100)}
    assert all(1 <= int(seconds) < 60 for seconds in told)


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.status == 503])
def test_after_a_503_clients_do_not_come_back_all_at_once(kind: type[SlipwayError]) -> None:
    assert len({error_headers(kind("Later."))["retry-after"] for _ in range(100)}) > 3
