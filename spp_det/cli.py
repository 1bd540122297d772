"""`spp-det`: one command line for all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from spp_det import __version__
from spp_det.commands import cache
from spp_det.commands.classes import add_class, remove_class, rename_class
from spp_det.commands.data import check_data
from spp_det.commands.doctor import doctor
from spp_det.commands.export import export
from spp_det.commands.looking import detect
from spp_det.commands.training import calibrate, compress, evaluate, report, status, train
from spp_det.tooling import run_tool

EPILOG = "Exit codes: 0 well, 1 a fault in your data or files, 2 wrong usage, 130 stopped."
PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Use a detector": {"detect": detect},
    "Make one": {"check-data": check_data, "train": train, "test": evaluate, "report": report, "status": status},
    "Change one": {
        "add-class": add_class,
        "remove-class": remove_class,
        "rename-class": rename_class,
        "calibrate": calibrate,
        "compress": compress,
    },
    "Take one elsewhere": {"export": export},
    "This machine": {"doctor": doctor},
}


def version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"spp-det {__version__}")
        raise typer.Exit


def about(
    _: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Object detection around SPP-net: convolve once, pool any window, one linear SVM per class.

    To begin: spp-det detect photo.jpg; or, with images of your own, spp-det check-data, train, test.
    """


def build() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="spp-det",
        callback=about,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for panel, commands in PANELS.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=panel)(command)
    app.add_typer(build_cache(), name="cache", rich_help_panel="This machine")
    return app


def build_cache() -> typer.Typer:
    """The commands of `spp-det cache`."""
    app = typer.Typer(help="Look into the store of runs, clear it up, or check it.", no_args_is_help=True)
    for command in (cache.ls, cache.prune, cache.verify):
        app.command()(command)
    return app


def run(argv: list[str] | None) -> int:
    """Run the command that the arguments name; faults of the user's pass through, see `run_tool`."""
    try:
        build()(args=argv)
    except SystemExit as end:
        if end.code == 130:  # how typer ends after Ctrl-C
            raise KeyboardInterrupt from None
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """The program `spp-det`."""
    run_tool(run)


if __name__ == "__main__":
    main()
