"""``mpj gc``: what of a store is old, and its removal, which is the runner's."""

from collections.abc import Sequence

import click

from mpj_operator.commands.errands import said


def gc(words: Sequence[str]) -> int:
    """Let the runner do what a command line says, and print what it says of it; return 0.

    Raises:
        UserError: the store can't be read or written, or the command line is wrong.
    """
    click.echo(said("mpj_runner.gc", words), nl=False)
    return 0
