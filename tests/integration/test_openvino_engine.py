"""Engines for OpenVINO: served by the gateway and by Triton, and refused where they cannot be."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openai import OpenAI
from openvino import opset13 as op
from support import tiny_checkpoints as tiny
from support.altered import altered
from support.answers import Answer
from support.command import run
from support.servers import gateway_and_triton, gateway_server

from build import engine as building
from slipway.contract.errors import EngineRefused
from slipway.contract.generation import SamplingParams
from slipway.contract.manifest import Manifest
from slipway.runtime import memory
from slipway.runtime.engine import Engine
from slipway.runtime.executors import openvino_model
from slipway.triton.repository import write_repository

QUESTION = "List three colours, then say which of them is the colour of the sea."
EXACT = SamplingParams(max_tokens=16, temperature=0.0, log_probs=True, ignore_eos=True)


def answer(url: str, model: str) -> str:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        asked = {"role": "user", "content": QUESTION}
        reply = client.chat.completions.create(model=model, messages=[asked], max_tokens=40, temperature=0)
    return reply.choices[0].message.content or ""


def test_the_gateway_and_triton_give_the_same_answer(openvino_engine_dir: Path, tmp_path: Path) -> None:
    name, repository = openvino_engine_dir.name, tmp_path / "model_repository"
    write_repository(openvino_engine_dir, repository)
    with gateway_and_triton(openvino_engine_dir.parent, repository) as (gateway, _):
        by_triton = answer(gateway.url, name)
    with gateway_server("--engine", openvino_engine_dir) as gateway:
        assert answer(gateway.url, name) == by_triton
    assert "blue" in by_triton.lower()


def built(place: Path, quantization: str) -> Path:
    """A tiny engine, built from a recipe as any other."""
    tiny.write(place / "checkpoint")
    recipe = place / "tiny.yaml"
    recipe.write_text(
        f"name: tiny\ncheckpoint: {place}/checkpoint\ntarget: openvino-cpu\nquantization: {quantization}\n"
    )
    said = building.build(recipe, None, place / "engines", place / "repository", force=False)
    assert "is ready" in said
    assert "up to date" in building.build(recipe, None, place / "engines", place / "repository", force=False)
    recipe.unlink()  # the engines made of this one have other limits
    return place / "engines" / "tiny"


@pytest.fixture(scope="module")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("int8"), "int8")


@pytest.fixture(scope="module")
def int4_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("int4"), "int4")


def test_the_manifest_says_how_it_was_built_and_what_serves_it(tiny_engine: Path) -> None:
    manifest = Manifest.read(tiny_engine)
    assert manifest.requires == {"openvino": f"=={manifest.versions['openvino']}"}
    assert "smoothing 0.3" in (manifest.method or "")
    assert {"model.xml", "model.bin"} <= manifest.files.keys()


def test_int4_takes_fewer_bytes_where_that_costs_little(tiny_engine: Path, int4_engine: Path) -> None:
    sizes = [Manifest.read(engine).files["model.bin"].size for engine in (tiny_engine, int4_engine)]
    assert sizes[1] < sizes[0]
    types = {str(node.get_element_type()) for node in _constants(int4_engine)}
    assert {"<Type: 'uint4_t'>", "<Type: 'int8_t'>"} <= types


def _constants(engine: Path) -> list[ov.Node]:
    model = ov.Core().read_model(str(engine / "model.xml"))
    return [node for node in model.get_ops() if node.get_type_name() == "Constant"]


def test_another_openvino_than_the_builds_is_refused(tiny_engine: Path, tmp_path: Path) -> None:
    old = altered(tiny_engine, tmp_path / "old", requires={"openvino": "==2025.1.0"})
    installed = Manifest.read(tiny_engine).versions["openvino"]
    with pytest.raises(EngineRefused, match=f"openvino ==2025.1.0, but {installed} is installed"):
        Engine(old)


def test_weights_that_do_not_fit_into_memory_are_refused_with_both_sizes(
    tiny_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_model, "available_bytes", lambda: 1000)
    with pytest.raises(EngineRefused, match=r"tiny take 0\.00 GB of memory, and 0\.00 GB are free"):
        Engine(tiny_engine)


def test_no_memory_for_one_sequence_is_refused(tiny_engine: Path, tmp_path: Path) -> None:
    share = 1000 / memory.available_bytes()
    small = altered(tiny_engine, tmp_path / "small", kv_cache={"memory_share": share})
    with pytest.raises(EngineRefused, match="holds sequences of 256 tokens, but there is memory"):
        Engine(small)


def test_a_graph_that_openvino_cannot_read_is_refused(tiny_engine: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_engine, broken)
    graph = broken / "model.xml"
    graph.write_text(graph.read_text().replace('type="MatMul"', 'type="NoSuchProduct"'))
    manifest = Manifest.read(broken)
    with pytest.raises(
        EngineRefused, match=rf"model.xml does not load in OpenVINO {ov.__version__[:6]}.*onnx-cpu"
    ):
        openvino_model.load(broken, manifest, threads=1)


def test_a_cpu_without_the_instructions_it_needs_is_named(openvino_engine_dir: Path) -> None:
    limited = {"ONEDNN_MAX_CPU_ISA": "SSE41"}  # what OpenVINO's kernels may use
    ran = run("slipway", "check", openvino_engine_dir, status=1, env=limited)
    cpu = ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    assert "Traceback" not in ran.stderr
    assert f"on {cpu} (" in ran.stderr
    assert "build it with target onnx-cpu" in ran.stderr


def _rewritten(engine: Path, directory: Path, change: Callable[[ov.Model], None]) -> Path:
    """The engine with another graph."""
    shutil.copytree(engine, directory)
    model = ov.Core().read_model(str(engine / "model.xml"))
    change(model)
    ov.serialize(model, str(directory / "model.xml"), str(directory / "model.bin"))
    manifest = json.loads((directory / "engine.json").read_text())
    for name in ("model.xml", "model.bin"):
        manifest["files"].pop(name)
    (directory / "engine.json").write_text(json.dumps(manifest))
    return directory


def _depend_on_company(model: ov.Model) -> None:
    """Let every token's logits depend on all tokens of the pass."""
    norm = next(node for node in model.get_ops() if node.get_friendly_name() == "final_norm")
    readers = norm.output(0).get_target_inputs()
    mean = op.reduce_mean(norm, op.constant(np.array([0, 1])), True)
    mixed = op.add(norm, op.multiply(mean, op.constant(np.float32(0.01))))
    for reader in readers:
        reader.replace_source_output(mixed.output(0))
    norm.set_friendly_name("norm_alone")
    mixed.set_friendly_name("final_norm")


def test_a_graph_that_breaks_the_rules_is_served_without_batches_and_drafts_and_says_so(
    tiny_engine: Path, tmp_path: Path
) -> None:
    mixing = _rewritten(tiny_engine, tmp_path / "mixing", _depend_on_company)
    with closing(Engine(mixing)) as engine:
        assert [note.partition(":")[0] for note in engine.notes] == [
            "Requests are decoded one by one",
            "Prompts are read whole and not kept",
            "Nothing is drafted",
        ]
        prompts = [[1 + row, 2, 3, *range(40)] for row in range(4)]
        alone = [Answer(engine, "alone", prompt, EXACT).exact() for prompt in prompts]
        together = [Answer(engine, f"{row}", prompt, EXACT) for row, prompt in enumerate(prompts)]
        assert [each.exact() for each in together] == alone
        assert engine.stats.draft_tokens == 0


@pytest.mark.parametrize("built_engine", ["tiny_engine", "int4_engine"])
def test_a_seeded_answer_is_the_same_alone_and_among_others(
    built_engine: str, request: pytest.FixtureRequest
) -> None:
    drawn = replace(EXACT, temperature=0.9, seed=11)
    with closing(Engine(request.getfixturevalue(built_engine))) as engine:
        assert not engine.notes
        prompts = [[1 + row, 2, 3, *range(5 * row)] for row in range(16)]
        alone = [Answer(engine, "alone", prompt, drawn).exact() for prompt in prompts]
        together = [Answer(engine, f"{row}", prompt, drawn) for row, prompt in enumerate(prompts)]
        assert [each.exact() for each in together] == alone
