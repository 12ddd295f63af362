"""Errors that more than one part of the relay raises."""

from relay.errors import SettingsError


def test_one_mistake_is_its_line() -> None:
    error = SettingsError("a.toml: wrong")

    assert (str(error), error.problems) == ("a.toml: wrong", ("a.toml: wrong",))


def test_several_mistakes_are_one_line_all_the_same() -> None:
    error = SettingsError("one", "two")

    assert (str(error), error.problems) == ("one; two", ("one", "two"))


def test_the_line_of_many_mistakes_says_how_many_it_leaves_out() -> None:
    error = SettingsError(*map(str, range(7)))

    assert str(error) == "0; 1; 2; 3; 4; and 2 more mistakes"
    assert len(error.problems) == 7
