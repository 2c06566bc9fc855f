"""Every supported architecture, as transformers saves it, becomes a graph that computes what it computes."""

import os
import runpy
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from support import tiny_checkpoints as tiny
from support.manifests import manifest

from build import program
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import builder, graph, int4, int8, positions
from build.openvino import parts
from build.openvino.reading import LayerWeights, Reader, embedded, read
from build.openvino.write import write
from slipway.contract.quantization import Quantization
from slipway.contract.recipe import Limits
from slipway.runtime.cpu import exact_products
from slipway.runtime.executors.openvino import BlockExecutor
from slipway.runtime.prompt_scores import PromptScores

os.environ["TQDM_DISABLE"] = "1"
import torch
import transformers

SHAPE: dict[str, Any] = {
    name: value
    for name, value in tiny.CONFIG.items()
    if name not in ("architectures", "model_type", "rope_theta")
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
KINDS = {
    "llama2": ("Llama", {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "deepseek-coder": (
        "Llama",
        {
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0},
        },
    ),
    # A last block of 32 that is not full, in the embedding too.
    "uneven": (
        "Llama",
        {"hidden_size": 80, "num_attention_heads": 5, "num_key_value_heads": 1, "intermediate_size": 100},
    ),
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False}),
    "mistral": ("Mistral", {"tie_word_embeddings": False, "head_dim": 32, "sliding_window": 128}),
}
ACCURACY = builder.ACCURACY_LEVELS["cpu"]
IDS = np.random.default_rng(1).integers(0, 256, size=(1, 48))


def _save(directory: Path, family: str, changes: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **changes})
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2 or not torch.all(parameter == 1):
                parameter.normal_(0, 0.3)
    # Several files, as large models have.
    model.to(torch.bfloat16).save_pretrained(directory, max_shard_size="60KB")
    tiny.write_tokenizer(directory)
    # Not the same object: to() has rounded its rotary frequencies too.
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def _logits_of(engine: Path, checkpoint: Checkpoint, **places: np.ndarray) -> np.ndarray:
    """The logits after the last token, or after those at `places`."""
    model = checkpoint.architecture
    options = onnxruntime.SessionOptions()
    for entry in exact_products().items():
        options.add_session_config_entry(*entry)
    path = engine / graph.FILE_NAME
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    past = np.zeros((1, model.kv_heads, 0, model.head_dim), np.float32)
    feeds = {entry.name: past for entry in session.get_inputs()}
    feeds |= {"input_ids": IDS, "attention_mask": np.ones_like(IDS), **places}
    return np.asarray(session.run(["logits"], feeds)[0])[0]


def _run_here(_: str, command: Sequence[str], log: Path, on_line: Callable[[bytes], None]) -> None:
    """Run a Python module in this process, which has imported torch: that takes longer than a tiny export."""
    module = command.index("-m") + 1
    with pytest.MonkeyPatch.context() as patch, log.open("w") as sink, redirect_stdout(sink):
        patch.setattr("sys.argv", list(command[module:]))
        runpy.run_module(command[module], run_name="__main__")
    for line in log.read_bytes().splitlines():
        on_line(line)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    """By kind: the place of the checkpoint, and transformers' logits after each token."""
    made = {}
    for kind, (family, changes) in KINDS.items():
        place = tmp_path_factory.mktemp(kind)
        model = _save(place / "checkpoint", family, changes)
        with torch.no_grad():
            made[kind] = place, model(torch.from_numpy(IDS)).logits[0].numpy()
    return made


@pytest.fixture(scope="module")
def expected(checkpoints: dict[str, tuple[Path, np.ndarray]]) -> dict[str, tuple[Path, np.ndarray]]:
    """The checkpoints, with exported engines beside them."""
    for place, _ in checkpoints.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(program, "run", _run_here)
            builder.export(Checkpoint.open(place / "checkpoint"), "cpu", place / "engine", place / "log")
        shutil.copytree(place / "engine", place / "scored")
    return checkpoints


@pytest.mark.parametrize("kind", KINDS)
def test_the_graphs_compute_what_transformers_computes(
    kind: str, expected: dict[str, tuple[Path, np.ndarray]]
) -> None:
    place, logits = expected[kind]
    checkpoint = Checkpoint.open(place / "checkpoint")
    engine, log = place / "engine", place / "log"
    shutil.copytree(engine, place / "int4")
    for quantizer, bits, directory, closeness in ((int8, 8, engine, 0.985), (int4, 4, place / "int4", 0.5)):
        quantizer.quantize(directory, checkpoint)
        graph.check(directory, checkpoint.architecture, bits, 8, builder.BLOCK_SIZE, ACCURACY)
        assert np.corrcoef(_logits_of(directory, checkpoint), logits[-1:])[0, 1] > closeness
    assert not log.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_as_likely_as_transformers_says(
    kind: str, expected: dict[str, tuple[Path, np.ndarray]]
) -> None:
    place, logits = expected[kind]
    checkpoint, engine = Checkpoint.open(place / "checkpoint"), place / "scored"
    alone = _logits_of(engine, checkpoint)
    positions.add_places(engine)
    assert (_logits_of(engine, checkpoint) == alone).all(), "by default the last token's"
    scores = PromptScores(IDS[0].tolist(), 0)
    scores.add(_logits_of(engine, checkpoint, logits_at=np.arange(IDS.shape[1])))
    theirs = torch.log_softmax(torch.from_numpy(logits[:-1]).double(), dim=-1).numpy()
    expected_log_probs = theirs[np.arange(len(theirs)), IDS[0, 1:]]
    # The engine has 8 bits for each weight, and this model's logits are wide: they differ by 2.4 as a rule.
    assert np.corrcoef(scores.result().log_probs, expected_log_probs)[0, 1] > 0.99
    assert np.abs(np.array(scores.result().log_probs) - expected_log_probs).mean() < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_layers_read_one_by_one_compute_what_transformers_computes(
    kind: str, expected: dict[str, tuple[Path, np.ndarray]]
) -> None:
    place, logits = expected[kind]
    checkpoint = Checkpoint.open(place / "checkpoint")
    model = checkpoint.architecture
    reader, x = Reader(model, IDS.shape[1]), embedded(checkpoint, IDS)
    for index in range(model.layers):
        layer = LayerWeights.read(checkpoint, index)
        x = reader.layer(x, layer.norms, layer.product)
    head = read(checkpoint, parts.lm_head(model) or parts.embedding(model))
    computed = reader.norm(x, read(checkpoint, parts.final_norm(model)))[0] @ head.T
    np.testing.assert_allclose(computed, logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_graphs_for_openvino_compute_what_transformers_computes(
    kind: str, checkpoints: dict[str, tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    place, logits = checkpoints[kind]
    checkpoint = Checkpoint.open(place / "checkpoint")
    written: Quantization
    for written in ("none", "int8"):
        (engine := tmp_path / written).mkdir()
        write(engine, checkpoint, written, tmp_path)
        described = manifest(Limits(max_batch_size=2, max_input_len=63, max_seq_len=64), logits.shape[1])
        executor = BlockExecutor(engine, described.model_copy(update={"quantization": written}), 2, 64, 2)
        assert not executor.capabilities.notes
        ours = executor.prefill_each(1, IDS[0].tolist())
        if written == "none":
            assert np.abs(ours - logits).max() < 1e-5 * np.abs(logits).max()
        assert np.corrcoef(ours.ravel(), logits.ravel())[0, 1] > 0.99
