"""What `setup.py` says of the compiled parts: it is a program, and imported by its path."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

_spec = spec_from_file_location("setup_of_relay", Path(__file__).parents[2] / "setup.py")
assert _spec is not None
assert _spec.loader is not None
_setup = module_from_spec(_spec)
_spec.loader.exec_module(_setup)

MODULES: Final[tuple[str, ...]] = _setup.MODULES
lost_in: Final[Callable[[str], list[str]]] = _setup.lost_in
has_compiler: Final[Callable[[], bool]] = _setup.has_compiler
