"""What counts for the unit tests alone."""

import pytest
from hypothesis import settings
from support import sentencepiece_tokenizer

from slipway.text.tokenizer import Tokenizer

# A busy machine makes any example slow once. In CI hypothesis draws the same examples in every run besides.
settings.register_profile("of any speed", settings(), deadline=None)
settings.load_profile("of any speed")


@pytest.fixture(scope="session")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer like Llama 2's, which no test changes."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    sentencepiece_tokenizer.write(folder)
    return Tokenizer.load(folder)
