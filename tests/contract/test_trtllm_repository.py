"""The models of a TensorRT-LLM engine: every parameter of upstream's template, and what stands in for it."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tokenizers
from support.paths import GOLDEN, ROOT
from support.trtllm_repository import NAME, compiled_engine, read_config, stand_in
from transformers import AutoTokenizer
from tritonclient.grpc import model_config_pb2

from build.checkpoint.architecture import Architecture
from build.trtllm import config as trtllm_config
from slipway.contract.recipe import KVCache, Parallel
from slipway.text.tokenizer import Tokenizer
from slipway.text.tokenizer_info import FILE_NAME, tokenizer_info
from slipway.text.vocabulary import Vocabulary
from slipway.triton.repository import write_repository
from slipway.triton.trtllm_parameters import TrtllmParameters

PARAMETERS = GOLDEN / "trtllm_parameters.txt"
# `GetParameter` of these is not caught in model_instance_state.cc: the model does not load without them.
READ_WITHOUT_A_DEFAULT = {
    "gpt_model_type",
    "tokenizer_dir",
    "guided_decoding_backend",
    "xgrammar_tokenizer_info_path",
}


def written(onnx: Path, directory: Path, **changes: Any) -> Any:
    """What Triton reads of the engine model."""
    write_repository(compiled_engine(onnx, directory / "engines", **changes), directory / "repository")
    return read_config(directory / "repository" / f"{NAME}.engine")


def texts(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def test_every_parameter_of_upstreams_template_is_there_with_a_reason() -> None:
    names = [line for line in PARAMETERS.read_text().splitlines() if not line.startswith("#")]
    assert {field.name for field in fields(TrtllmParameters)} == set(names)
    hints = get_type_hints(TrtllmParameters, include_extras=True)
    for name, hint in hints.items():
        assert len(hint.__metadata__[0]) > 5, name


def test_a_compiled_engine_gets_nvidias_backend_and_its_settings(engine_dir: Path, tmp_path: Path) -> None:
    config = written(engine_dir, tmp_path, kv_cache=KVCache(memory_share=0.7))
    assert config.backend == "tensorrtllm"
    assert config.model_transaction_policy.decoupled
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 0
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    given = texts(config)
    assert given["kv_cache_free_gpu_mem_fraction"] == "0.7"
    assert given["enable_kv_cache_reuse"] == given["enable_chunked_context"] == "true"
    assert given["gpt_model_path"] == f"engines/{NAME}"
    assert (tmp_path / given["xgrammar_tokenizer_info_path"]).is_file()
    assert given["normalize_log_probs"] == "false"
    assert given.keys() >= READ_WITHOUT_A_DEFAULT
    assert {name for name, value in given.items() if not value} == {"tokenizer_dir"}
    assert not given.keys() & {"gpu_device_ids", "lora_prefetch_dir", "encoder_model_path"}


def test_the_logits_have_the_type_that_the_engine_gives_them(engine_dir: Path, tmp_path: Path) -> None:
    """Upstream's check of both: fillTritonResponse in model_instance_state.cc."""
    config = written(engine_dir, tmp_path)
    ensemble = read_config(tmp_path / "repository" / NAME)
    types = {
        tensor.name: model_config_pb2.DataType.Name(tensor.data_type)
        for tensor in (*config.input, *config.output, *ensemble.output)
        if tensor.name.endswith("_logits") and not tensor.name.startswith("return_")
    }
    assert types == dict.fromkeys(("draft_logits", "context_logits", "generation_logits"), "TYPE_FP16")
    model = Architecture.read(ROOT / "tests" / "configs" / "llama-3.2-1b.json")
    made = trtllm_config.config(model, Parallel(), "none", "none", "bfloat16")
    assert made["logits_dtype"] == "float16"


def test_what_the_recipe_says_of_gpus_and_cache_reaches_the_engine(engine_dir: Path, tmp_path: Path) -> None:
    config = written(
        engine_dir,
        tmp_path,
        kv_cache=KVCache(memory_share=0.9, quantization="int8"),
        parallel=Parallel(tensor=2, gpus=(2, 3)),
    )
    given = texts(config)
    assert given["gpu_device_ids"] == "2,3"
    # Such an engine has no paged context FMHA, which both need.
    assert given["enable_kv_cache_reuse"] == given["enable_chunked_context"] == "false"


def test_no_placeholder_is_left_in_any_file(engine_dir: Path, tmp_path: Path) -> None:
    written(engine_dir, tmp_path)
    files = [path for path in (tmp_path / "repository").rglob("*") if path.is_file()]
    assert len(files) == 6, "four configs, and the code of two stages"
    assert not [path for path in files if "${" in path.read_text()]


def test_the_stand_in_differs_in_backend_and_parameters_alone(engine_dir: Path, tmp_path: Path) -> None:
    engine = compiled_engine(engine_dir, tmp_path / "engines")
    write_repository(engine, tmp_path / "shipped")
    stand_in(engine, engine_dir, tmp_path / "standing-in")
    for shipped in sorted((tmp_path / "shipped").iterdir()):
        other = tmp_path / "standing-in" / shipped.name
        configs = [read_config(shipped), read_config(other)]
        if shipped.name == f"{NAME}.engine":
            assert [config.backend for config in configs] == ["tensorrtllm", "python"]
            for config in configs:
                config.ClearField("backend")
                config.ClearField("parameters")
        assert configs[0] == configs[1], shipped.name


def test_xgrammar_is_told_what_upstreams_script_tells_it_but_special_tokens(
    engine_dir: Path, tmp_path: Path
) -> None:
    engine = compiled_engine(engine_dir, tmp_path, eos_token_ids=(2, 0))
    info = json.loads((engine / FILE_NAME).read_text(encoding="utf-8"))
    assert info.keys() == {"encoded_vocab", "tokenizer_str", "stop_token_ids"}
    upstream = AutoTokenizer.from_pretrained(engine)
    told = upstream.convert_ids_to_tokens(range(len(upstream)))
    added = upstream.added_tokens_decoder
    special = {index for index, token in added.items() if token.special}
    assert info["encoded_vocab"] == ["" if index in special else token for index, token in enumerate(told)]
    read = tokenizers.Tokenizer.from_str(info["tokenizer_str"])
    assert read.encode("서울 Paris").ids == AutoTokenizer.from_pretrained(engine).encode("서울 Paris")
    assert info["stop_token_ids"] == [2, 0]


@pytest.mark.parametrize("gap", [1, 5])
def test_xgrammar_finds_each_token_at_its_id_also_behind_a_gap(gap: int) -> None:
    encoder = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "Ġb": 1 + gap}, []))
    encoder.decoder = tokenizers.decoders.ByteLevel()
    info = json.loads(tokenizer_info(Tokenizer(encoder, Vocabulary.read(encoder), {}), ()))
    assert info["encoded_vocab"] == ["a", *[""] * gap, "Ġb"]


def test_xgrammar_reads_an_added_token_as_its_letters_and_a_special_one_not_at_all() -> None:
    encoder = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    encoder.decoder = tokenizers.decoders.ByteLevel()
    encoder.add_tokens(["café", "한 국"])
    encoder.add_special_tokens(["<end>"])
    info = json.loads(tokenizer_info(Tokenizer(encoder, Vocabulary.read(encoder), {}), (3,)))
    letters = ["a", "cafÃ©", "íķľĠêµŃ", ""]
    assert info["encoded_vocab"] == letters, "a letter for each byte, as the tokens of the model"
