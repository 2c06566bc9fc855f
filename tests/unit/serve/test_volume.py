"""A volume with built engines alone."""

from pathlib import Path

import pytest
from support.manifests import manifest

from slipway.contract.errors import ServerFailed
from slipway.contract.manifest import FILE_NAME
from slipway.contract.recipe import Limits
from slipway.serve.volume import write_models
from slipway.triton import config, engine_folder

LIMITS = Limits(max_batch_size=1, max_input_len=10, max_seq_len=20)


def engines(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).mkdir(parents=True)
        made = manifest(LIMITS, 100).model_copy(update={"name": name})
        (place / name / FILE_NAME).write_text(made.model_dump_json())
    return place


def test_every_engine_gets_its_models_which_find_it(tmp_path: Path) -> None:
    volume, repository = engines(tmp_path / "volume", "one", "two"), tmp_path / "run" / "models"
    write_models(volume, repository)
    assert {
        path.parent.name for path in repository.glob("*/config.pbtxt") if "." not in path.parent.name
    } == {
        "one",
        "two",
    }
    parameter = config.read(repository / "two.engine" / "config.pbtxt").parameters[engine_folder.PARAMETER]
    assert parameter.string_value == str(volume / "two")


def test_a_repository_that_has_models_stays_as_it_is(tmp_path: Path) -> None:
    volume, repository = engines(tmp_path / "engines", "one", "two"), tmp_path / "models"
    model = repository / "mine" / "config.pbtxt"
    model.parent.mkdir(parents=True)
    model.touch()
    write_models(volume, repository)
    assert list(repository.iterdir()) == [model.parent]


def test_an_engine_that_cannot_be_read_leaves_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = engines(tmp_path / "engines", "one", "two")
    (volume / "one" / FILE_NAME).write_text("{")
    write_models(volume, tmp_path / "models")
    assert not (tmp_path / "models" / "one").exists()
    assert (tmp_path / "models" / "two").exists()
    assert f"{volume / 'one'} is left out: " in caplog.text


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    volume = engines(tmp_path / "engines", "one")
    (tmp_path / "file").touch()
    with pytest.raises(ServerFailed, match=r"The models of .*one cannot be written to .*MODEL_REPOSITORY"):
        write_models(volume, tmp_path / "file" / "models")
