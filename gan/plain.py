"""For recipes: a person's mistake is one line and exit code 1, as with the commands of `gan`."""

from typing import Any

import click

from data_tools.errors import UserError


class PlainCommand(click.Command):
    """A click command that turns `UserError` into its message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command.

        Raises:
            click.ClickException: a `UserError` was raised.
        """
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from None
