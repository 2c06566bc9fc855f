"""The kind of a stage's error survives Triton, which passes on the text alone."""

import pytest

from slipway.contract.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    ModelUnavailable,
    SlipwayError,
)
from slipway.contract.stage_errors import read, written


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("top_k is -2."), InvalidRequest),
        (ContextLengthExceeded("too long.", "messages"), InvalidRequest),
        (ModelUnavailable("It is being started again."), ModelUnavailable),
        (EngineFailed("It ended."), None),
    ],
)
@pytest.mark.parametrize("before", ["", "in ensemble 'mine', "])
def test_the_kind_of_an_error_is_read_and_its_sentence_is_as_it_was(
    error: SlipwayError, kind: type[SlipwayError] | None, before: str
) -> None:
    assert read(before + written(error)) == (kind, before + str(error))


def test_a_sentence_of_tritons_own_is_of_no_kind() -> None:
    said = "[request id: d] expected number of inputs between 2 and 41 but got 1"
    assert read(said) == (None, said)
