"""What the fuzzing has come to, once more: every input that is kept, without atheris."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from . import corpus, seeds
from .targets import TARGETS


def target(name: str) -> Callable[[bytes], None]:
    run: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.targets.{name}").run
    return run


def test_every_target_has_seeds_and_inputs_that_are_kept() -> None:
    assert list(seeds.SEEDS) == list(TARGETS)
    assert sorted(path.stem for path in corpus.DIRECTORY.iterdir()) == sorted(TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_finds_nothing_in_its_seeds_and_in_what_is_kept(name: str) -> None:
    run = target(name)

    for each in [*seeds.SEEDS[name](), *corpus.kept(name)]:
        try:
            run(each)
        except Exception as error:
            raise AssertionError(f"{name}: {each!r}") from error


def test_a_corpus_is_read_as_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "DIRECTORY", tmp_path)

    corpus.keep("codec", [b"longer", b"", b"\n\0", b"longer"])

    assert corpus.kept("codec") == [b"", b"\n\0", b"longer"]
