from pathlib import Path

import pytest

from build.destination import Destination
from slipway.contract.errors import BuildError


@pytest.fixture
def place(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "engines" / "tiny")


def _build(place: Destination, content: str) -> None:
    with place.locked(), place.workplace() as work:
        engine = work / "engine"
        engine.mkdir()
        (engine / "file").write_text(content)
        place.put(engine)


def _visible(place: Destination) -> list[str]:
    return sorted(p.name for p in place.directory.parent.iterdir() if p.name != ".tiny.lock")


def test_an_engine_takes_its_place_and_leaves_nothing_beside_it(place: Destination) -> None:
    _build(place, "first")
    _build(place, "second")
    assert (place.directory / "file").read_text() == "second"
    assert _visible(place) == ["tiny"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(place: Destination, tmp_path: Path) -> None:
    large = tmp_path / "large-disk" / "tiny"
    large.mkdir(parents=True)
    place.directory.parent.mkdir()
    place.directory.symlink_to(large)
    _build(place, "first")
    _build(place, "second")
    assert place.directory.is_symlink()
    assert (large / "file").read_text() == "second"
    assert _visible(place) == ["tiny"]


def test_where_a_disk_is_mounted_nothing_is_built() -> None:
    with pytest.raises(BuildError, match="a disk is mounted"), Destination(Path("/proc")).locked():
        pass


def test_a_build_that_fails_leaves_the_engine_before_it(place: Destination) -> None:
    _build(place, "first")
    with pytest.raises(FileNotFoundError), place.locked(), place.workplace() as work:
        (work / "nothing").read_text()
    assert (place.directory / "file").read_text() == "first"
    assert _visible(place) == ["tiny"]


def test_a_second_build_of_the_same_engine_is_told_at_once(place: Destination) -> None:
    with (
        place.locked(),
        pytest.raises(BuildError, match="tiny is being built by another process"),
        Destination(place.directory).locked(),
    ):
        pass
    with place.locked():
        pass


def test_engines_of_other_names_may_be_built_at_the_same_time(place: Destination) -> None:
    with place.locked(), Destination(place.directory.parent / "other").locked():
        pass


def test_what_a_killed_build_left_is_cleared_and_said(
    place: Destination, capsys: pytest.CaptureFixture[str]
) -> None:
    left = place.directory.parent / ".tiny.building" / "work"
    left.mkdir(parents=True)
    _build(place, "whole")
    assert (
        f"The previous build of {place.directory} was interrupted; starting over." in capsys.readouterr().err
    )
    assert _visible(place) == ["tiny"]


def test_an_engine_moved_aside_by_a_killed_build_comes_back(
    place: Destination, capsys: pytest.CaptureFixture[str]
) -> None:
    _build(place, "first")
    place.directory.rename(place.directory.parent / ".tiny.old")
    with place.locked():
        assert (place.directory / "file").read_text() == "first"
    assert "the previous folder is back" in capsys.readouterr().err


def test_an_old_engine_that_was_already_replaced_is_removed(place: Destination) -> None:
    _build(place, "second")
    (place.directory.parent / ".tiny.old").mkdir()
    with place.locked():
        pass
    assert (place.directory / "file").read_text() == "second"
    assert _visible(place) == ["tiny"]
