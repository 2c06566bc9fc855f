"""Several models behind one gateway and one Triton: listed, unloaded, loaded, and added while both run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from google.protobuf import text_format
from openai import OpenAI
from support.servers import gateway_and_triton
from support.trtllm_repository import renamed

from slipway.gateway.keys import file as key_file
from slipway.triton.config import read as read_config
from slipway.triton.repository import write_repository

ASKED = {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
LONG = {
    "prompt": "1, 2, 3, 4,",
    "max_tokens": 60,
    "stream": True,
    "stream_options": {"include_usage": True},
    "extra_body": {"ignore_eos": True},
}


@dataclass(frozen=True)
class Served:
    url: str
    engines: Path
    repository: Path
    admin: OpenAI
    user: OpenAI
    triton: psutil.Process

    def answer(self, model: str) -> str:
        return self.user.completions.create(model=model, **ASKED).choices[0].text

    def listed(self) -> set[str]:
        return {model.id for model in self.user.models.list()}

    def loaded(self) -> int:
        """Return the number of engines in memory."""
        family = self.triton.children(recursive=True)
        return sum("slipway.runtime.worker" in process.cmdline() for process in family)

    def change(self, verb: str, model: str) -> None:
        self.admin.post(f"{self.url}/models/{verb}", body={"model": model}, cast_to=object)


@pytest.fixture(scope="module")
def served(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("several")
    engines, repository, keys = place / "engines", place / "repository", place / "keys.yaml"
    engines.mkdir()
    for name in ("one", "two"):
        write_repository(renamed(engine_dir, engines, name), repository)
    admin = key_file.add(keys, "admin", {"admin": True})
    user = key_file.add(keys, "user", {})
    with (
        gateway_and_triton(engines, repository, "--keys", keys) as (gateway, triton),
        OpenAI(base_url=f"{gateway.url}/v1", api_key=admin, max_retries=0, timeout=60) as of_admin,
        OpenAI(base_url=f"{gateway.url}/v1", api_key=user, max_retries=0, timeout=60) as of_user,
    ):
        process = psutil.Process(triton.process.pid)
        yield Served(gateway.url, engines, repository, of_admin, of_user, process)


def test_unloading_waits_for_answers_frees_memory_and_says_how_to_load_again(served: Served) -> None:
    assert served.listed() == {"one", "two"}
    before = served.answer("one")
    assert served.loaded() == 2
    stream = served.user.completions.create(model="one", **LONG)
    next(iter(stream))
    served.change("unload", "one")
    assert served.loaded() == 1
    *_, last, usage = stream
    assert last.choices[0].finish_reason == "length"
    assert usage.usage.completion_tokens == LONG["max_tokens"]
    assert served.listed() == {"two"}
    with pytest.raises(openai.InternalServerError, match=r"one.*/models/load") as caught:
        served.answer("one")
    assert caught.value.status_code == 503
    assert served.answer("two") == before
    assert httpx.get(f"{served.url}/health/ready").status_code == 200
    served.change("load", "one")
    assert served.listed() == {"one", "two"}
    assert served.answer("one") == before


def test_an_engine_built_while_the_server_runs_loads_without_a_restart(
    served: Served, engine_dir: Path
) -> None:
    with pytest.raises(openai.NotFoundError):
        served.answer("late")
    write_repository(renamed(engine_dir, served.engines, "late"), served.repository)
    served.change("load", "late")
    assert "late" in served.listed()
    assert served.answer("late") == served.answer("one")
    served.change("unload", "late")


def test_a_model_that_cannot_be_loaded_says_why(served: Served, engine_dir: Path) -> None:
    write_repository(
        renamed(engine_dir, served.engines, "old", requires={"onnxruntime": "<0.1"}), served.repository
    )
    with pytest.raises(openai.InternalServerError, match=r"old.*onnxruntime"):
        served.change("load", "old")
    assert "old" not in served.listed()


def test_a_model_repository_of_an_older_slipway_is_not_ready_and_says_so(
    served: Served, engine_dir: Path
) -> None:
    write_repository(renamed(engine_dir, served.engines, "earlier"), served.repository)
    ensemble = served.repository / "earlier" / "config.pbtxt"
    config = read_config(ensemble)
    config.input.remove(next(tensor for tensor in config.input if tensor.name == "min_p"))
    for step in config.ensemble_scheduling.step:
        step.input_map.pop("min_p", None)
    ensemble.write_text(text_format.MessageToString(config))
    with pytest.raises(openai.InternalServerError, match=r"earlier .*min_p.*python -m build repository"):
        served.change("load", "earlier")
    assert "earlier" not in served.listed()
    served.change("unload", "earlier")


def test_only_an_admin_loads_and_unloads_and_no_page_of_another_origin(served: Served) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="admin"):
        served.user.post(f"{served.url}/models/unload", body={"model": "one"}, cast_to=object)
    key = {"authorization": f"Bearer {served.admin.api_key}", "content-type": "text/plain"}
    form = httpx.post(f"{served.url}/models/unload", headers=key, content='{"model": "one"}')
    assert form.status_code == 415
    assert served.answer("one")
