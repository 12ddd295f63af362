"""The curve: what 1, 2, 4 and 8 workers and fronts carry, each on so many cores."""
