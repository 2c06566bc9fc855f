import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from support import tiny_checkpoints as tiny
from tokenizers import decoders

from build.checkpoint.checkpoint import Checkpoint
from slipway.contract.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model", shards=3)


def _refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        Checkpoint.open(folder)
    message = str(refused.value)
    assert message.endswith("."), message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shards", [1, 3])
def test_a_whole_checkpoint_opens_and_hands_out_each_tensor(tmp_path: Path, shards: int) -> None:
    checkpoint = Checkpoint.open(tiny.write(tmp_path / "model", shards))
    for name, expected in tiny.tensors().items():
        read = checkpoint.weights.read(name)
        assert read.dtype == ml_dtypes.bfloat16
        assert np.array_equal(read, expected)
    checkpoint.check_finite()
    assert checkpoint.hints() == []


def test_parameters_are_counted_once_when_embeddings_are_tied(folder: Path) -> None:
    weights = tiny.tensors()
    count = sum(array.size for array in weights.values())
    assert Checkpoint.open(folder).parameters == count
    tiny.write_weights(folder, {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]})
    assert Checkpoint.open(folder).parameters == count


def test_the_sources_of_an_engine_are_the_files_that_were_read(sharded: Path) -> None:
    (sharded / "README.md").write_text("not read")
    sources = set(Checkpoint.open(sharded).sources)
    assert sources == {path.name for path in sharded.iterdir()} - {"README.md"}


# --- the weights ---


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    message = _refusal(sharded)
    assert "model-00002-of-00003.safetensors is missing" in message
    assert "copy or download it again" in message


def test_an_index_that_places_a_tensor_elsewhere_is_refused(sharded: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    assert "says that model.norm.weight is in model-00001-of-00003.safetensors, which" in _refusal(sharded)


def test_a_tensor_that_the_index_leaves_out_is_refused(sharded: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index))
    assert "holds model.norm.weight, which model.safetensors.index.json does not list" in _refusal(sharded)


def test_shards_without_an_index_ask_for_it(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    assert "3 safetensors files" in _refusal(sharded)


def test_two_saves_in_one_folder_are_refused(sharded: Path) -> None:
    # save_pretrained leaves either beside the other, and transformers reads model.safetensors.
    tiny.write_weights(sharded, tiny.tensors())
    assert "two saves in one folder; remove the one you do not want" in _refusal(sharded)


def test_an_index_may_name_one_file_and_others_may_lie_beside_it(folder: Path) -> None:
    save_file({"tok_embeddings.weight": np.zeros(1, np.float32)}, folder / "consolidated.safetensors")
    assert Checkpoint.open(folder).weights.files == ["model.safetensors"]
    index = {"weight_map": dict.fromkeys(tiny.tensors(), "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert Checkpoint.open(folder).weights.files == ["model.safetensors", "model.safetensors.index.json"]


def test_an_index_without_a_map_is_refused(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text("{}")
    assert "has no weight_map" in _refusal(sharded)


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_file_that_was_cut_off_is_named(folder: Path, left: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    assert f"{path} is cut off or damaged" in _refusal(folder)


def test_a_git_lfs_pointer_is_recognised(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "git lfs pull" in _refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickles_are_refused_because_they_run_code(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    message = _refusal(folder)
    assert f"{name} is a pickle" in message
    assert "runs any code that is in it" in message


def test_a_folder_without_weights_says_what_a_checkpoint_is(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no *.safetensors" in _refusal(folder)


def test_quantized_tensors_are_refused(folder: Path) -> None:
    weights = tiny.tensors()
    name = "model.layers.0.mlp.up_proj.weight"
    tiny.write_weights(folder, {**weights, name: weights[name].astype(np.int8)})
    assert f"{name} is I8; supported are BF16, F16, F32" in _refusal(folder)


# --- config.json against the weights ---


def test_a_shape_that_the_config_does_not_imply_is_refused(folder: Path) -> None:
    tiny.write_config(folder, intermediate_size=128)
    message = _refusal(folder)
    assert "model.layers.0.mlp.gate_proj.weight has shape [96, 64]" in message
    assert "implies [128, 64]" in message


def test_rows_that_the_config_does_not_know_name_vocab_size(folder: Path) -> None:
    tiny.write_config(folder, vocab_size=260)
    message = _refusal(folder)
    assert "model.embed_tokens.weight has shape [264, 64]" in message
    assert "set vocab_size to the number of rows" in message


def test_a_missing_tensor_is_named(folder: Path) -> None:
    weights = tiny.tensors()
    del weights["model.layers.1.self_attn.o_proj.weight"]
    tiny.write_weights(folder, weights)
    assert "has no tensor model.layers.1.self_attn.o_proj.weight" in _refusal(folder)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_model_that_was_saved_wrapped_says_how_to_save_it(folder: Path, prefix: str) -> None:
    tiny.write_weights(folder, {f"{prefix}{name}": tensor for name, tensor in tiny.tensors().items()})
    message = _refusal(folder)
    assert f"it has {prefix}model.embed_tokens.weight, so the model was saved inside a wrapper" in message


def test_an_untied_model_without_lm_head_hears_of_tying(folder: Path) -> None:
    tiny.write_config(folder, tie_word_embeddings=False)
    message = _refusal(folder)
    assert "has no tensor lm_head.weight" in message
    assert "tie_word_embeddings" in message


def test_an_output_layer_that_is_not_the_embedding_it_should_be_is_refused(folder: Path) -> None:
    # transformers 5 would answer with it, older ones with the embedding.
    trained = {"lm_head.weight": tiny.tensors()["model.embed_tokens.weight"][::-1].copy()}
    tiny.write_weights(folder, tiny.tensors() | trained)
    message = _refusal(folder)
    assert "lm_head.weight is not the embedding" in message
    assert "set tie_word_embeddings to false" in message
    tiny.write_config(folder, tie_word_embeddings=False)
    assert not Checkpoint.open(folder).architecture.tied


def test_an_embedding_that_was_saved_as_the_output_layer_says_how_to_save_it(folder: Path) -> None:
    weights = tiny.tensors()
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    tiny.write_weights(folder, weights)
    assert "no tensor model.embed_tokens.weight; it was saved as lm_head.weight" in _refusal(folder)


@pytest.mark.parametrize(
    ("extra", "mend"),
    [
        ("model.layers.2.mlp.up_proj.weight", "num_hidden_layers"),
        ("model.layers.0.self_attn.q_proj.bias", "the architecture"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "adapters in the recipe"),
        ("model.layers.0.self_attn.q_proj.base_layer.weight", "adapters in the recipe"),
    ],
)
def test_a_tensor_too_many_is_named_with_its_likely_cause(folder: Path, extra: str, mend: str) -> None:
    tiny.write_weights(folder, {**tiny.tensors(), extra: np.zeros((4, 4), np.float32)})
    message = _refusal(folder)
    assert f"holds {extra}" in message
    assert mend in message


def test_rotary_buffers_of_older_saves_are_passed_over(folder: Path) -> None:
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    tiny.write_weights(folder, tiny.tensors() | buffer)
    Checkpoint.open(folder)


def test_qwen2_has_biases_on_q_k_and_v_alone(folder: Path) -> None:
    tiny.write_config(folder, architectures=["Qwen2ForCausalLM"])
    assert "has no tensor model.layers.0.self_attn.q_proj.bias" in _refusal(folder)
    weights = tiny.tensors()
    for layer in range(2):
        for projection, rows in (("q", 64), ("k", 32), ("v", 32)):
            weights[f"model.layers.{layer}.self_attn.{projection}_proj.bias"] = np.zeros(rows, np.float16)
    tiny.write_weights(folder, weights)
    Checkpoint.open(folder)


def test_head_dim_may_differ_from_hidden_size_over_heads(folder: Path) -> None:
    tiny.write_config(folder, head_dim=32)
    assert "q_proj.weight has shape [64, 64]" in _refusal(folder)


def test_a_file_that_becomes_shorter_while_it_is_read_is_named(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=f"{path} became shorter"):
        checkpoint.check_finite()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_a_number_that_is_none_is_found_wherever_it_is(folder: Path, value: float, dtype: Any) -> None:
    weights = tiny.tensors()
    spoilt = weights["model.layers.1.mlp.down_proj.weight"].astype(dtype)
    spoilt[-1, -1] = value
    tiny.write_weights(folder, weights | {"model.layers.1.mlp.down_proj.weight": spoilt})
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.down_proj\.weight holds NaN or inf"):
        checkpoint.check_finite()


# --- config.json itself ---


def test_an_unknown_architecture_hears_which_are_known(folder: Path) -> None:
    tiny.write_config(folder, architectures=["GPTNeoXForCausalLM"])
    message = _refusal(folder)
    assert "GPTNeoXForCausalLM" in message
    assert "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM" in message


def test_a_config_without_an_architecture_is_refused(folder: Path) -> None:
    tiny.write_config(folder, architectures=None)
    assert "the architecture (none)" in _refusal(folder)


def test_a_quantized_checkpoint_is_refused(folder: Path) -> None:
    tiny.write_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "quantized already (gptq)" in _refusal(folder)
    tiny.write_config(folder, quantization_config="awq")
    assert "quantized already (awq)" in _refusal(folder)


def test_a_checkpoint_that_was_quantized_once_and_is_no_more_opens(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": None}))
    Checkpoint.open(folder)


def test_a_wrong_config_value_is_named(folder: Path) -> None:
    tiny.write_config(folder, num_hidden_layers="many")
    assert "config.json is wrong at num_hidden_layers" in _refusal(folder)


def test_another_activation_is_refused(folder: Path) -> None:
    tiny.write_config(folder, hidden_act="gelu")
    assert "hidden_act 'gelu'" in _refusal(folder)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is missing"), ("{", "not valid JSON"), ("[]", "not a")]
)
def test_a_config_that_cannot_be_read_is_refused(folder: Path, content: str | None, words: str) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    assert words in _refusal(folder)


def test_a_lora_adapter_is_no_checkpoint_and_hears_where_it_goes(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    assert f"adapters is [{folder}]" in _refusal(folder)
    assert f"python -m build merge BASE OUTPUT --adapter {folder}" in _refusal(folder)


def test_a_path_that_leads_nowhere_says_why(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/data/model")
    assert "it is a link to /data/model, which is not here" in _refusal(tmp_path / "link")
    assert "write the whole path" in _refusal(Path("~/models/mine"))


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in _refusal(tmp_path / "nothing")


# --- the tokenizer ---


def test_a_missing_tokenizer_is_asked_for(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing; save the tokenizer of the training run" in _refusal(folder)


def test_a_missing_tokenizer_config_is_asked_for(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json is missing" in _refusal(folder)


@pytest.mark.parametrize("token", [["</s>"], {"text": "</s>"}, 2])
def test_what_is_no_token_is_named(folder: Path, token: object) -> None:
    tiny.write_tokenizer(folder, eos_token=token)
    assert f"has eos_token {token!r}, which is no token" in _refusal(folder)


def test_a_slow_tokenizer_hears_how_to_become_a_fast_one(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    message = _refusal(folder)
    assert "has tokenizer.model but no tokenizer.json" in message
    assert "AutoTokenizer.from_pretrained" in message


def test_more_tokens_than_embedding_rows_is_refused(folder: Path) -> None:
    tiny.write_tokenizer(folder, extra=10)
    message = _refusal(folder)
    assert "ids up to 267 ('<extra_9>')" in message
    assert "the embedding has 264 rows" in message
    assert "resize_token_embeddings" in message


def test_as_many_tokens_as_rows_is_fine(folder: Path) -> None:
    tiny.write_tokenizer(folder, extra=6)
    assert Checkpoint.open(folder).tokenizer.largest_id == 263


@pytest.mark.parametrize(("content", "words"), [("{", "is not valid JSON"), ("{}", "describes no tokenizer")])
def test_a_damaged_tokenizer_is_refused(folder: Path, content: str, words: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert f"tokenizer.json {words}" in _refusal(folder)


def test_an_unknown_decoder_is_refused_before_the_build(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    assert "WordPiece" in _refusal(folder)


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "expected"),
    [
        ([5, 6], 7, "</s>", (5, 6, 257)),
        (5, 7, None, (5,)),
        (None, [7, 257], "</s>", (7, 257)),
        (None, None, "</s>", (257,)),
        (None, None, {"content": "</s>"}, (257,)),
    ],
)
def test_what_ends_an_answer(
    folder: Path, generation: Any, config: Any, tokenizer: Any, expected: tuple[int, ...]
) -> None:
    tiny.write_config(folder, eos_token_id=config)
    tiny.write_tokenizer(folder, eos_token=tokenizer)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    assert Checkpoint.open(folder).eos_token_ids == expected


def test_a_model_whose_answers_would_never_end_is_refused(folder: Path) -> None:
    tiny.write_config(folder, eos_token_id=None)
    tiny.write_tokenizer(folder, eos_token=None)
    assert "answers would never end" in _refusal(folder)


def test_an_end_of_sequence_outside_the_vocabulary_is_refused(folder: Path) -> None:
    tiny.write_config(folder, eos_token_id=264)
    assert "eos_token_id 264 is not one of the model's 264 tokens" in _refusal(folder)


def test_the_engine_gets_the_tokenizer_as_it_was_trained(folder: Path, tmp_path: Path) -> None:
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "</s>", "bos_token": "old"}))
    files = Checkpoint.open(folder).tokenizer
    files.write(tmp_path, files.chat_template, files.tool_template)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "chat_template.jinja").read_text() == tiny.TEMPLATE
    assert not (tmp_path / "chat_template.tool_use.jinja").exists()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


@pytest.mark.parametrize(
    ("inline", "expected"),
    [
        ([{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}], "a"),
        ([{"name": "rag", "template": "b"}], None),
        (None, None),
    ],
)
def test_the_chat_template_inside_the_tokenizer_config(
    folder: Path, inline: Any, expected: str | None
) -> None:
    tiny.write_tokenizer(folder, chat_template=inline)
    assert Checkpoint.open(folder).tokenizer.chat_template == expected


def test_the_template_for_tools_goes_to_the_engine_too(folder: Path, tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    tiny.write_tokenizer(folder, chat_template=named)
    files = Checkpoint.open(folder).tokenizer
    files.write(tmp_path, files.chat_template, files.tool_template)
    assert (tmp_path / "chat_template.jinja").read_text() == "a"
    assert (tmp_path / "chat_template.tool_use.jinja").read_text() == "b"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("c")
    assert Checkpoint.open(folder).tokenizer.tool_template == "c"


def test_a_template_of_another_encoding_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes("한국어".encode("euc-kr"))
    assert "chat_template.jinja cannot be read as UTF-8 text" in _refusal(folder)


def test_a_template_file_wins_over_the_inline_one(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("from the file")
    assert Checkpoint.open(folder).tokenizer.chat_template == "from the file"


# --- hints ---


def test_fp32_weights_get_a_hint_and_no_error(folder: Path) -> None:
    tiny.write_weights(folder, {name: array.astype(np.float32) for name, array in tiny.tensors().items()})
    (hint,) = Checkpoint.open(folder).hints()
    assert "bf16 is enough" in hint


def test_a_base_model_without_template_gets_a_hint(folder: Path) -> None:
    tiny.write_tokenizer(folder, chat_template=None)
    (hint,) = Checkpoint.open(folder).hints()
    assert "no chat template" in hint


def test_a_sliding_window_bounds_the_context(folder: Path) -> None:
    tiny.write_config(folder, architectures=["MistralForCausalLM"], sliding_window=128)
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.architecture.context == 128
    assert "128 tokens (sliding_window)" in checkpoint.hints()[0]


@pytest.mark.parametrize("use", [False, None])  # transformers takes a missing one for false
def test_a_window_that_qwen2_does_not_use_bounds_nothing(folder: Path, use: bool | None) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    tiny.write_tokenizer(folder)
    tiny.write_config(folder, architectures=["Qwen2ForCausalLM"], sliding_window=128, use_sliding_window=use)
    biases = {
        f"model.layers.{layer}.self_attn.{name}_proj.bias": np.zeros(rows, np.float32)
        for layer in range(2)
        for name, rows in (("q", 64), ("k", 32), ("v", 32))
    }
    save_file(tiny.tensors() | biases, folder / "model.safetensors")
    assert Checkpoint.open(folder).architecture.context == 256
