"""The command line: `load` is a click command that stands alone or below another."""

from relay.loadgen.cli.commands import load

__all__ = ["load"]
