from itertools import islice
from pathlib import Path

import pytest

from bench.answer import RequestFailed
from bench.prompts import random_texts, read, shuffled, words_for


def test_random_prompts_differ_from_each_other_and_return_with_the_seed():
    first = list(islice(random_texts(20, seed=1), 50))
    assert len(set(first)) == 50
    assert first == list(islice(random_texts(20, seed=1), 50))
    assert all(len(prompt.split()) == 20 for prompt in first)


@pytest.mark.parametrize(("per_word", "template"), [(1.0, 0), (1.0, 31), (1.5, 12)])
def test_the_length_is_found_by_asking_the_server(per_word: float, template: int):
    def count(text: str) -> int:
        return template + round(len(text.split()) * per_word)

    words = words_for(400, count, seed=0)
    assert count(next(random_texts(words, seed=5))) == pytest.approx(400, abs=1)


def test_a_length_that_the_template_alone_fills_is_refused():
    with pytest.raises(RequestFailed, match=r"--prompt-tokens 20 .* alone takes 31 tokens"):
        words_for(20, lambda text: 31 + len(text.split()), seed=0)


@pytest.mark.parametrize(
    ("content", "words"), [(b"\n\n", "has no prompt in it"), (b"\xff", "is not UTF-8 text")]
)
def test_a_file_without_prompts_is_refused(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(RequestFailed, match=words):
        read(tmp_path / "prompts.txt")


def test_prompts_of_a_file_are_all_asked_before_any_is_asked_again(tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_text("안녕하세요\n\n  two  \nthree\n", encoding="utf-8")
    prompts = read(path)
    assert prompts == ["안녕하세요", "two", "three"]
    asked = shuffled(prompts, seed=0)
    assert {next(asked) for _ in range(3)} == set(prompts)
    assert {next(asked) for _ in range(3)} == set(prompts)
