"""What is remembered, and forgotten first."""

from relay.client.memory import Memory


def test_beyond_the_limit_the_oldest_is_forgotten() -> None:
    memory: Memory[str, int] = Memory(2)
    for n, key in enumerate("abc"):
        memory.put(key, n)

    assert [memory.get(key) for key in "abc"] == [None, 1, 2]
    assert memory.oldest() == ("b", 1)


def test_putting_a_key_in_again_makes_it_the_newest_and_looking_does_not() -> None:
    memory: Memory[str, int] = Memory(2)
    memory.put("a", 1)
    memory.put("b", 2)
    memory.get("a")
    assert memory.oldest() == ("a", 1)

    memory.put("a", 3)
    memory.put("c", 4)

    assert [memory.get(key) for key in "abc"] == [3, None, 4]


def test_what_was_forgotten_is_gone() -> None:
    memory: Memory[str, int] = Memory(2)
    memory.put("a", 1)

    memory.forget("a")

    assert memory.get("a") is None
    assert memory.oldest() is None
