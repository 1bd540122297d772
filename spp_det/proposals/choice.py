"""From a configuration to the proposal method that it names."""

from __future__ import annotations

import msgspec

from spp_det.config import ProposalsConfig
from spp_det.proposals import PROPOSALS, JoinedProposals, ProposalMethod
from spp_det.resolve import call_part, resolve


def make_proposals(settings: ProposalsConfig, seed: int = 0, threads: int | None = None) -> ProposalMethod:
    """The proposal method; seed: of what it draws; `threads` bounds those of one image."""
    if "+" in settings.method:
        each = [msgspec.structs.replace(settings, method=name.strip()) for name in settings.method.split("+")]
        return JoinedProposals([make_proposals(one, seed, threads) for one in each])
    part = resolve(settings.method, PROPOSALS, "proposals.method")
    if settings.method == "file":
        return part(settings.file)
    if settings.method == "selective_search":
        return part(settings.mode, seed, settings.min_side, settings.max_windows, threads)
    if settings.method == "edge_boxes":
        return part(settings.file, settings.max_windows, settings.min_side)
    return call_part(part, "proposals")
