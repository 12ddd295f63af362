"""How every command line ends: with an exit code, and with one line where it was wrong."""

import sys
from typing import Final

import click

from relay.errors import RelayError, SettingsError

FAILED: Final = 1
BAD_USAGE: Final = 2
INTERRUPTED: Final = 130


def invoke(command: click.Command, argv: list[str], *, name: str) -> int:
    """Run `command`, called `name` by whoever runs it; return what its callback returns, or 0.

    Bad usage and settings are 2, another error of ours 1, an interrupt 130. What click would say of
    it in three lines is one on stderr: the command, what is wrong, and where to read more. A group
    is to be made with `no_args_is_help=False`: versions of click differ in what they do then.
    """
    try:
        code = command.main(argv, prog_name=name, standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else name
        text = error.format_message()
        _complain(path, text if "--help" in text else f"{text} ({path} --help shows more)")
        return BAD_USAGE
    except click.ClickException as error:
        _complain(name, error.format_message())
        return error.exit_code
    except SettingsError as error:
        _complain(name, str(error))
        return BAD_USAGE
    except RelayError as error:
        _complain(name, str(error))
        return FAILED
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _complain(path: str, text: str) -> None:
    line = " ".join(text.split())
    sys.stderr.write(f"{path.removeprefix('python -m ')}: {line}\n")
