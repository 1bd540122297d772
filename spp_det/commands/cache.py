"""spp-det cache ls, prune and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import AsJson, print_json, words_aside

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="the store's folder, or that of a run that uses it")]


def ls(store: StorePath, as_json: AsJson = False) -> None:
    """Show what is in a store: sizes, ages, and which runs use it."""
    from spp_det.pipeline.cache import find_store, list_store, store_json, store_table
    from spp_det.tooling import console

    found = find_store(store)
    listed = list_store(found)
    if as_json:
        print_json(store_json(listed))
    else:
        console.print(store_table(found, listed))


def prune(
    store: StorePath,
    yes: Annotated[bool, typer.Option("--yes", help="delete it (default: only say what would be deleted)")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what no run uses any more.

    A run that is just trained or tested keeps what it uses.
    """
    from spp_det.pipeline import cache
    from spp_det.tooling import console, format_bytes

    found = cache.find_store(store)
    listed = cache.list_store(found)
    unused = [kept for kept in listed if not kept.runs and kept.busy is None]
    if yes:
        unused = cache.prune(found, listed)
    if as_json:
        print_json({"deleted": yes, "unused": cache.store_json(unused)})
        return
    for kept in unused:
        console.print(f"{kept.stage}/{kept.key}: {format_bytes(kept.bytes)}")
    total = format_bytes(sum(kept.bytes for kept in unused))
    print(f"{'deleted' if yes else 'unused'}: {total} of {format_bytes(sum(kept.bytes for kept in listed))}", end="")
    print("" if yes or not unused else "; --yes deletes it")


def verify(
    store: StorePath,
    repair: Annotated[
        bool, typer.Option("--repair", help="drop what is damaged, for the next run to make again")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read all of a store and check its checksums.

    The exit code is 1 where something is damaged.
    """
    from spp_det.pipeline import cache
    from spp_det.tooling import format_bytes

    with words_aside(as_json):
        faults, read = cache.verify(cache.find_store(store), repair)
    if as_json:
        print_json({"bytes": read, "damaged": faults, "dropped": repair})
    else:
        for fault in faults:
            print(fault)
        end = f"{len(faults)} damaged{', dropped' if repair else ''}" if faults else "all as it was written"
        print(f"{format_bytes(read)} read, {end}")
    raise typer.Exit(int(bool(faults)))
