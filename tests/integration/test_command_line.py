"""What a person sees when a command line is wrong."""

import pytest
from support.command import run


@pytest.mark.parametrize("program", ["slipway", "build", "bench"])
def test_a_wrong_option_is_one_line_however_narrow_the_terminal(program: str) -> None:
    done = run(program, "--qqq", status=2, env={"COLUMNS": "40"})
    assert done.stderr == "error: No such option: --qqq\n"


def test_a_command_without_arguments_shows_its_help_and_no_error() -> None:
    done = run("slipway", status=2)
    assert "Usage: slipway" in done.stdout
    assert not done.stderr
