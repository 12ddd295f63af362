"""Takes back what a library of the extra does to all imports after its own."""

import sys
from importlib.util import find_spec

if find_spec("pygal") is not None:
    import pygal  # type: ignore[import-untyped] # noqa: F401

    # It leaves a finder of an old kind for plugins that nobody here has. Python warns of that at
    # every module that is not found, which elsewhere in the suite counts as an error.
    sys.meta_path[:] = [each for each in sys.meta_path if type(each).__module__ != "pygal"]
