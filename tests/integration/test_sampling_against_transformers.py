"""The choice of a token, held against the logits processors of transformers in the order it gives them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from slipway.contract.generation import SamplingParams
from slipway.runtime.sampling.log_probs import log_probability
from slipway.runtime.sampling.sampler import Sampler

VOCAB, EOS = 400, 7
PROMPT = [3, 11, 11, 200, 42, 5]
ANSWER = [42, 42, 17]
SAMPLED = SamplingParams(max_tokens=10, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """Its weights do not matter: it is asked for its processors only."""
    size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **size))


def theirs(model: LlamaForCausalLM, params: SamplingParams, logits: np.ndarray) -> np.ndarray:
    """The probabilities that transformers draws the token after PROMPT and ANSWER from."""
    config = GenerationConfig(
        do_sample=True,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p or None,
        repetition_penalty=params.repetition_penalty,
        sequence_bias=[[[token], bias] for token, bias in params.logit_bias] or None,
        bad_words_ids=[list(bad) for bad in params.bad_token_ids] or None,
        min_new_tokens=params.min_tokens,
        eos_token_id=EOS,
    )
    model._prepare_special_tokens(config)
    processors = model._get_logits_processor(config, input_ids_seq_length=len(PROMPT))
    scores = processors(torch.tensor([PROMPT + ANSWER]), torch.tensor(logits[None]))
    return torch.softmax(scores[0].double(), dim=-1).numpy()


class Scripted(Sampler):
    """Ours, with ANSWER already given."""

    def __init__(self, params: SamplingParams) -> None:
        super().__init__(params, PROMPT, {EOS})
        for token in ANSWER:
            if self._adjustments is not None:
                self._adjustments.append(token)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        adjusted = logits if self._adjustments is None else self._adjustments.applied(logits)
        tokens, weights = self._candidates(adjusted)
        shares = np.zeros(logits.size)
        shares[slice(None) if tokens is None else tokens] = weights
        return shares / shares.sum()


ALL = replace(
    SAMPLED,
    temperature=1.7,
    top_k=60,
    top_p=0.9,
    min_p=0.02,
    repetition_penalty=1.3,
    logit_bias=((9, 4.0), (42, 3.0), (EOS, 50.0), (200, -2.0)),
    bad_token_ids=((9,), (42, 17, 42), (5, 6)),
    min_tokens=4,
)


@pytest.mark.parametrize(
    "params",
    [
        SAMPLED,
        replace(SAMPLED, temperature=0.3),
        replace(SAMPLED, top_k=5),
        replace(SAMPLED, top_p=0.4),
        replace(SAMPLED, min_p=0.2),
        replace(SAMPLED, repetition_penalty=1.8),
        replace(SAMPLED, repetition_penalty=0.5),
        replace(SAMPLED, logit_bias=((3, 5.0), (8, -100.0))),
        replace(SAMPLED, bad_token_ids=((8,), (42, 17, 3), (11, 4))),
        replace(SAMPLED, min_tokens=3),
        replace(SAMPLED, min_tokens=4, logit_bias=((EOS, 20.0),)),
        replace(SAMPLED, top_p=0.8, min_p=0.1),
        replace(SAMPLED, temperature=2.0, top_k=30, top_p=0.7, repetition_penalty=1.4),
        ALL,
    ],
    ids=lambda params: ",".join(
        name for name in params.__slots__ if getattr(params, name) != getattr(SAMPLED, name)
    ),
)
def test_every_token_has_the_probability_that_transformers_gives_it(
    model: LlamaForCausalLM, params: SamplingParams
) -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        logits = random.normal(0, 3, VOCAB).astype(np.float32)
        ours = Scripted(params).probabilities(logits)
        assert ours == pytest.approx(theirs(model, params, logits), abs=1e-6)


def test_draws_come_from_those_probabilities(model: LlamaForCausalLM) -> None:
    logits = np.random.default_rng(6).normal(0, 3, VOCAB).astype(np.float32)
    sampler = Sampler(replace(SAMPLED, temperature=1.5, top_k=20, top_p=0.8), PROMPT, {EOS})
    shares = np.bincount([sampler.choose(logits) for _ in range(20_000)], minlength=VOCAB) / 20_000
    params = replace(SAMPLED, temperature=1.5, top_k=20, top_p=0.8)
    assert shares == pytest.approx(theirs(model, params, logits), abs=0.015)


def test_log_probabilities_are_torchs_log_softmax() -> None:
    logits = np.random.default_rng(7).normal(0, 5, 49_152).astype(np.float32)
    expected = torch.log_softmax(torch.tensor(logits).double(), dim=-1).numpy()
    for token in (0, 1234, int(logits.argmax()), int(logits.argmin())):
        assert log_probability(logits, token) == pytest.approx(expected[token], abs=1e-5)
