"""How the sites of a model and its guide stand: plates, shapes, names and scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pyro.distributions import Unit

from pyro_mlvae.checking.pair import Sites
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.group_weights import GROUPS, OBSERVATIONS, SUPER_GROUPS

MEMBERS = {OBSERVATIONS: "observation", GROUPS: "group", SUPER_GROUPS: "super-group"}
HOMES = {"x": OBSERVATIONS, "style": OBSERVATIONS, "content": GROUPS, "super_content": SUPER_GROUPS}


def frames_of(site: Any) -> dict[str, Any]:
    """The plates in which a site stands, by name."""
    return {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}


def is_subsampled(frame: Any) -> bool:
    """Whether a plate takes only some of its members."""
    return frame.full_size not in (None, frame.size)


def sizes_of(batch: GroupedBatch) -> dict[str, int]:
    """The size that each plate must have."""
    return {OBSERVATIONS: len(batch), GROUPS: batch.num_groups, SUPER_GROUPS: batch.num_parents}


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them, at most four."""
    shown = [repr(name) for name in names]
    if len(shown) > 4:
        shown[3:] = [f"{len(shown) - 3} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _holds_x(site: Any, batch: GroupedBatch) -> bool:
    value, x = site["value"], batch.x
    if not site["is_observed"] or value.numel() != x.numel():
        return False
    # A missing value, NaN, is not equal to itself.
    return torch.equal(value.nan_to_num(), x.to(value).reshape(value.shape).nan_to_num())


def plate_faults(kind: str, sites: Sites, batch: GroupedBatch) -> Iterator[str]:
    """Sites outside their plate, and plates that are not of the batch's size."""
    plates: dict[str, Any] = {}
    for name, site in sites.items():
        frames = frames_of(site)
        plates |= frames
        found = [plate for plate in MEMBERS if plate in frames]
        home = OBSERVATIONS if _holds_x(site, batch) else HOMES.get(name)
        if len(found) != 1 or home not in (None, found[0]):
            wanted = f"the plate {home!r}" if home else f"one of the plates {listed(MEMBERS)}"
            came = listed(frames) if frames else "no plate"
            yield f"the {kind}'s site {name!r} must stand in {wanted}, got {came}: sample it there"
    for plate, frame in plates.items():
        size = sizes_of(batch).get(plate, frame.size)
        must = f"the {kind}'s plate {plate!r} must be of"
        if is_subsampled(frame):
            came = f"a subsample of {frame.size} of {frame.full_size}"
            yield f"{must} all its members, got {came}: subsample where batches are made"
        elif frame.size != size:
            yield f"{must} size {size}, got {frame.size}: take its size from the batch"


def shape_faults(kind: str, sites: Sites) -> Iterator[str]:
    """Batch dimensions that no plate has, and observed sites of another shape than their data."""
    for name, site in sites.items():
        fn, frames = site["fn"], frames_of(site)
        dims = {frame.dim for frame in frames.values()}
        loose = [n for dim, n in enumerate(fn.batch_shape, -len(fn.batch_shape)) if dim not in dims]
        if frames and max(loose, default=1) > 1:
            yield (
                f"the {kind}'s site {name!r} must have one batch dimension for each of its plates, "
                f"got batch shape {list(fn.batch_shape)}: declare the dimensions of one event with "
                ".to_event"
            )
        elif site["is_observed"] and not isinstance(fn, Unit) and fn.shape() != site["value"].shape:
            yield (
                f"the {kind}'s site {name!r} must be of the shape that it observes, "
                f"{list(site['value'].shape)}, got {list(fn.shape())}: let the decoder make that "
                "shape"
            )


def matching_faults(guide: Sites, model: Sites, batch: GroupedBatch) -> Iterator[str]:
    """Sites that only one of the two has, or in two shapes, and x that is not observed."""
    latent = [name for name, site in model.items() if not site["is_observed"]]
    observed = [
        name for name in model if name not in latent and not isinstance(model[name]["fn"], Unit)
    ]
    missing = [name for name in latent if name not in guide]
    if not any(_holds_x(site, batch) for site in model.values()):
        forgotten = [
            name for name in missing if name == "x" or model[name]["value"].shape == batch.x.shape
        ]
        missing = [name for name in missing if name not in forgotten]
        came = f"something else in {listed(observed)}" if observed else "no observed site"
        where = listed(forgotten or observed or ["x"])
        yield (
            f"the model must observe batch.x, got {came}: pass obs=batch.x where {where} is sampled"
        )
    for name in missing:
        yield (
            f"the model's site {name!r} must be in the guide, got only {listed(guide)}: sample it "
            "there"
        )
    for name, site in guide.items():
        if name in observed:
            yield (
                f"the guide's site {name!r} must be latent, got one that the model observes: "
                "remove it"
            )
        elif name not in model and not site["infer"].get("is_auxiliary"):
            yield (
                f"the guide's site {name!r} must be in the model, got only {listed(model)}: rename "
                "it"
            )
        elif name in latent and site["fn"].event_shape != model[name]["fn"].event_shape:
            shapes = [list(s["fn"].event_shape) for s in (model[name], site)]
            yield (
                f"the site {name!r} must have one event shape in model and guide, got {shapes[0]} "
                f"in the model and {shapes[1]} in the guide: give both the same dimensions"
            )


def scale_faults(sites: dict[str, Sites]) -> Iterator[str]:
    """Scales that are not one and the same."""
    scales: dict[str, list[str]] = {}
    for kind in sites:
        for name, site in sites[kind].items():
            values = torch.as_tensor(site["scale"], dtype=torch.float64).unique()
            text = " to ".join(
                f"{value:.6g}" for value in {float(values[0]): 0, float(values[-1]): 0}
            )
            scales.setdefault(text, []).append(f"the {kind}'s {name!r}")
    if len(scales) > 1:
        came = "; ".join(f"{text} at {', '.join(names)}" for text, names in scales.items())
        yield (
            f"all sites must have one scale, got {came}: scale model and guide as a whole, by one "
            "factor"
        )
