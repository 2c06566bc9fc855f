import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from support.paths import GOLDEN
from tritonclient.grpc import model_config_pb2

from slipway.contract.manifest import Manifest
from slipway.contract.recipe import KVCache, Limits, Parallel
from slipway.contract.target import TARGETS
from slipway.triton import config, interface, layout, llmapi_arguments, llmapi_interface, models
from slipway.triton.config import Ensemble, PythonModel
from slipway.triton.repository import write_repository
from slipway.triton.tensor_spec import TensorSpec

TENSORS = GOLDEN / "triton_tensors.txt"


@pytest.fixture(scope="module")
def made(engine_dir: Path) -> tuple[PythonModel | Ensemble, ...]:
    return models.of_engine(Manifest.read(engine_dir), 'engines/a "quoted"\\ 한국어\n name')


def parsed(model: PythonModel | Ensemble) -> Any:
    return text_format.Parse(config.text(model), model_config_pb2.ModelConfig())


def read_back(tensor: Any) -> TensorSpec:
    dtype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    is_input = hasattr(tensor, "optional")
    return TensorSpec(
        tensor.name,
        dtype,
        tuple(tensor.dims),
        optional=is_input and tensor.optional,
        ragged=is_input and tensor.allow_ragged_batch,
        reshape=tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None,
    )


def test_triton_reads_back_every_tensor_as_it_was_meant(made: Any) -> None:
    for model in made:
        config_read = parsed(model)
        assert config_read.name == model.name
        assert config_read.max_batch_size == 16
        assert tuple(map(read_back, config_read.input)) == model.inputs
        assert tuple(map(read_back, config_read.output)) == model.outputs


def test_triton_reads_back_the_stages(made: Any, engine_dir: Path) -> None:
    name = Manifest.read(engine_dir).name
    stages = [parsed(model) for model in made if isinstance(model, PythonModel)]
    assert [stage.name for stage in stages] == [
        f"{name}.preprocessing",
        f"{name}.engine",
        f"{name}.postprocessing",
    ]
    assert [stage.backend for stage in stages] == ["python"] * 3
    assert [stage.model_transaction_policy.decoupled for stage in stages] == [False, True, False]
    for stage in stages:
        assert stage.parameters["engine_dir"].string_value == 'engines/a "quoted"\\ 한국어\n name'
        [group] = stage.instance_group
        assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_CPU)


def test_triton_reads_back_the_ensembles_wiring(made: Any) -> None:
    ensemble = made[-1]
    config_read = parsed(ensemble)
    assert config_read.platform == "ensemble"
    assert len(config_read.ensemble_scheduling.step) == 3
    for step, read in zip(ensemble.steps, config_read.ensemble_scheduling.step, strict=True):
        assert read.model_name == step.model
        assert read.model_version == -1
        assert dict(read.input_map) == step.inputs
        assert dict(read.output_map) == step.outputs


def test_every_wire_ends_at_tensors_of_the_same_type_and_shape(made: Any) -> None:
    by_name = {model.name: model for model in made}
    ensemble = made[-1]
    sources = {tensor.name: tensor for tensor in ensemble.inputs}
    for step in ensemble.steps:
        stage = by_name[step.model]
        inputs = {tensor.name: tensor for tensor in stage.inputs}
        for inner, outer in step.inputs.items():
            assert (sources[outer].dtype, sources[outer].dims) == (inputs[inner].dtype, inputs[inner].dims)
        outputs = {tensor.name: tensor for tensor in stage.outputs}
        sources |= {outer: outputs[inner] for inner, outer in step.outputs.items()}
    for tensor in ensemble.outputs:
        assert (sources[tensor.name].dtype, sources[tensor.name].dims) == (tensor.dtype, tensor.dims)


def test_no_stage_reads_an_output_of_the_ensemble(made: Any) -> None:
    """Else Triton skips the engine for a client that asks for some outputs and not for others."""
    outputs = {tensor.name for tensor in made[-1].outputs}
    given = {tensor.name for tensor in made[-1].inputs}
    for step in made[-1].steps:
        assert not outputs & (set(step.inputs.values()) - given)


def test_the_first_stage_is_told_the_version_of_the_wires(made: Any) -> None:
    assert parsed(made[0]).parameters["layout"].string_value == layout.layout(compiled=False)


def test_every_input_of_the_ensemble_goes_somewhere(made: Any) -> None:
    used = {outer for step in made[-1].steps for outer in step.inputs.values()}
    assert {tensor.name for tensor in made[-1].inputs} <= used


def golden(model: str, kind: str) -> dict[str, tuple[str, str, frozenset[str]]]:
    lines = [line.split() for line in TENSORS.read_text().splitlines() if not line.startswith("#")]
    return {
        name: (dtype, dims, frozenset(flags))
        for owner, what, name, dtype, dims, *flags in lines
        if (owner, what) == (model, kind)
    }


def described(tensor: TensorSpec, dtype: str) -> tuple[str, str, frozenset[str]]:
    flags = {"optional": tensor.optional, "ragged": tensor.ragged, "reshape[]": tensor.reshape == ()}
    return (
        "*" if dtype == "*" else tensor.dtype,
        "[" + ",".join(map(str, tensor.dims)) + "]",
        frozenset(flag for flag, holds in flags.items() if holds),
    )


@pytest.mark.parametrize(
    ("model", "kind", "tensors"),
    [
        ("ensemble", "input", interface.ENSEMBLE_INPUTS),
        ("ensemble", "output", interface.ENSEMBLE_OUTPUTS),
        ("engine", "input", interface.ENGINE_INPUTS),
        ("engine", "output", interface.ENGINE_OUTPUTS),
        ("llmapi", "input", llmapi_interface.INPUTS),
        ("llmapi", "output", llmapi_interface.OUTPUTS),
    ],
)
def test_the_tensors_are_those_of_tensorrt_llm(
    model: str, kind: str, tensors: tuple[TensorSpec, ...]
) -> None:
    expected = golden(model, kind)
    assert {tensor.name: described(tensor, expected[tensor.name][0]) for tensor in tensors} == expected


def names(tensors: tuple[TensorSpec, ...]) -> list[str]:
    return [tensor.name for tensor in tensors]


def test_what_is_our_own_is_beside_theirs_and_only_where_the_engine_has_it(
    made: Any, engine_dir: Path
) -> None:
    compiled = Manifest.read(engine_dir).model_copy(update={"target": TARGETS["tensorrt-llm"]})
    for models_, extra_inputs, extra_outputs in (
        (made, interface.ONNX_INPUTS, interface.ONNX_OUTPUTS),
        (models.of_engine(compiled, "engine"), (), ()),
    ):
        engine, ensemble = models_[1], models_[-1]
        assert names(engine.inputs) == names((*interface.ENGINE_INPUTS, *extra_inputs))
        assert names(engine.outputs) == names((*interface.ENGINE_OUTPUTS, *extra_outputs))
        own = {tensor.name for tensor in ensemble.inputs} - golden("ensemble", "input").keys()
        assert own == {tensor.name for tensor in (*interface.OWN_INPUTS, *extra_inputs)}
        assert all(tensor.optional for tensor in ensemble.inputs if tensor.name in own)
        own = {tensor.name for tensor in ensemble.outputs} - golden("ensemble", "output").keys()
        assert own == {tensor.name for tensor in (*interface.OWN_OUTPUTS, *extra_outputs)}


@pytest.fixture
def llmapi(engine_dir: Path) -> Manifest:
    return Manifest.read(engine_dir).model_copy(
        update={
            "target": TARGETS["tensorrt-llm-llmapi"],
            "quantization": "none",
            "kv_cache": KVCache(memory_share=0.7, quantization="fp8"),
            "parallel": Parallel(tensor=2, pipeline=2),
            "limits": Limits(max_batch_size=8, max_input_len=99, max_seq_len=100, max_num_tokens=64),
        }
    )


def test_triton_reads_back_the_one_model_of_an_llmapi_engine(llmapi: Manifest) -> None:
    [model] = models.of_engine(llmapi, "engines/a")
    config_read = parsed(model)
    assert (config_read.name, config_read.backend) == (llmapi.name, "python")
    # Both are in upstream's model.yaml, which are read only where Triton completes a config.
    assert config_read.max_batch_size == 0
    assert config_read.model_transaction_policy.decoupled
    asked = (*llmapi_interface.INPUTS, llmapi_interface.STOP_TOKEN_IDS)
    assert tuple(map(read_back, config_read.input)) == asked
    ours = (*llmapi_interface.OUTPUTS, llmapi_interface.TOKENS_SO_FAR)
    assert tuple(map(read_back, config_read.output)) == ours


def test_model_yaml_has_what_the_recipe_says_by_upstreams_keys(llmapi: Manifest) -> None:
    [model] = models.of_engine(llmapi, "engines/a")
    assert yaml.safe_load(model.files["model.yaml"]) == {
        "model": "engines/a",
        "backend": "pytorch",
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2,
        "max_batch_size": 8,
        "max_num_tokens": 64,
        "max_seq_len": 100,
        "enable_chunked_prefill": True,
        "kv_cache_config": {"free_gpu_memory_fraction": 0.7, "dtype": "fp8"},
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    assert "triton_config" not in llmapi_arguments.read(model.files["model.yaml"])


def test_an_engine_of_another_target_takes_the_place_of_all_models_of_its_name(
    engine_dir: Path, llmapi: Manifest, tmp_path: Path
) -> None:
    write_repository(engine_dir, tmp_path / "repository")
    ensemble = contents(tmp_path / "repository")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "engine.json").write_text(llmapi.model_dump_json())
    write_repository(tmp_path / "engine", tmp_path / "repository")
    assert {Path(name).parts[0] for name in contents(tmp_path / "repository")} == {llmapi.name}
    write_repository(engine_dir, tmp_path / "repository")
    assert contents(tmp_path / "repository") == ensemble


def test_the_same_engine_always_gives_the_same_files(engine_dir: Path, tmp_path: Path) -> None:
    write_repository(engine_dir, tmp_path / "one")
    write_repository(engine_dir, tmp_path / "two")
    write_repository(engine_dir, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_repository_on_another_disk_may_be_linked(engine_dir: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        if Path(disk).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is one disk")
        (tmp_path / "repository").symlink_to(f"{disk}/repository")
        write_repository(engine_dir, tmp_path / "repository")
        name = Manifest.read(engine_dir).name
        assert (tmp_path / "repository" / name / "config.pbtxt").is_file()
        assert [path.name for path in Path(disk).iterdir()] == ["repository"]


def test_other_engines_models_stay_as_they_are(
    engine_dir: Path, int8_engine_dir: Path, tmp_path: Path
) -> None:
    write_repository(engine_dir, tmp_path / "repository")
    before = contents(tmp_path / "repository")
    write_repository(int8_engine_dir, tmp_path / "repository")
    after = contents(tmp_path / "repository")
    assert before.items() < after.items()
    assert len(after) == 2 * len(before)


def test_an_engine_beside_the_repository_is_found_wherever_both_are_moved(
    engine_dir: Path, tmp_path: Path
) -> None:
    engine = shutil.copytree(engine_dir, tmp_path / "engines" / engine_dir.name)
    write_repository(engine, tmp_path / "models")
    written = (tmp_path / "models" / f"{engine_dir.name}.engine" / "config.pbtxt").read_text()
    assert f'"engines/{engine_dir.name}"' in written
    assert str(tmp_path) not in written


def contents(repository: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(repository)): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file()
    }
