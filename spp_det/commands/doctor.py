"""spp-det doctor."""

from __future__ import annotations

import typer

from spp_det.commands.options import AsJson, print_json


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed, and what is missing.

    The exit code is 1 where something is missing that spp_det cannot do without.
    """
    from spp_det.installation import examine
    from spp_det.tooling import console

    found = examine()
    if as_json:
        print_json(found.to_dict())
    else:
        console.print(found.table())
    raise typer.Exit(int(bool(found.missing)))
