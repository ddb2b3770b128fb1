"""What a run found, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

Scores = Mapping[str, Any] | None
# The name of a row, and what picks its scores from a part of metrics.json.
Row = tuple[str, Callable[[Any], Scores]]


def summary(metrics: Mapping[str, Any]) -> str:
    """The numbers of metrics.json that a person asks for first, each beside its control."""
    elbo = metrics["elbo"]
    units = elbo["units"]
    divergences = "".join(
        f" - KL {name.removeprefix('kl_').replace('_', ' ')} {value:.2f}"
        for name, value in elbo.items()
        if name.startswith("kl_")
    )
    error = "" if elbo["standard_error"] is None else f" ± {elbo['standard_error']:.2f}"
    lines = [
        f"ELBO on {elbo['observations']} held-out observations in {elbo['groups']} groups of at most "
        f"{elbo['observations_per_group']}:",
        f"  {elbo['per_observation']:.2f}{error} {units} per observation "
        f"({elbo['per_group']:.2f} per group)",
        f"  = reconstruction {elbo['reconstruction']:.2f}{divergences}",
        f"  nested bound, {elbo['content_draws']} draws of content x {elbo['style_draws']} of style: "
        f"{elbo['nested_iwae_per_observation']:.2f}",
    ]
    if elbo["vae"] is not None:
        lines.append(
            f"  a plain VAE of the same size: {elbo['vae']['per_observation']:.2f} "
            f"({elbo['vae']['nested_iwae_per_observation']:.2f})"
        )
    for name, part in (("probe", _probe_lines), ("unseen", _unseen_lines), ("swap", _swap_lines)):
        if metrics[name] is not None:
            lines += ["", *part(metrics[name])]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in metrics["warnings"])])


def _probe_lines(probe: Mapping[str, Any]) -> Iterator[str]:
    # The parts of a VAE's latent have no roles, so what it knows is in the whole of it.
    vae = probe["vae"]
    whole = vae and {"style": None, "content": vae["latent"]}
    columns = {"trained": probe, "VAE": vae, "VAE, whole": whole, "untrained": probe["untrained"]}
    rows: list[Row] = [("style (low is good)", lambda of: of["style"])]
    rows += [
        (f"content of {k} observation{'s' if k != '1' else ''}", partial(_of_content, k))
        for k in probe["content"]
    ]
    yield from _table("How well a probe reads the label", columns, rows, probe["chance"])


def _unseen_lines(unseen: Mapping[str, Any]) -> Iterator[str]:
    ways = unseen["ways"]
    trained = {**unseen["shots"], "verification_auc": unseen["verification_auc"]}
    columns = {"trained": trained, "VAE": unseen["vae"]}
    columns |= {name: unseen[name] for name in ("untrained", "pixels")}
    if ways is not None:
        rows: list[Row] = [(f"{ways}-way {k}-shot", itemgetter(k)) for k in unseen["shots"]]
        many = f"{unseen['groups']} unseen groups"
        yield from _table(f"Telling {many} apart", columns, rows, unseen["chance"])
    auc: list[Row] = [("same group or not, ROC AUC", lambda of: {"accuracy": of["verification_auc"]})]
    yield from _table("Pairs with an unseen group", columns, auc, 0.5)


def _swap_lines(swap: Mapping[str, Any]) -> Iterator[str]:
    columns = {"trained": swap, "VAE": swap["vae"]}
    rows: list[Row] = [
        (f"{whose} donor's, content of {k}", partial(_of_swap, name, k))
        for name, whose in (("consistency", "content"), ("style_donor", "style"))
        for k in swap["consistency"]
    ]
    yield from _table("Whose label a classifier reads off a swap", columns, rows)


def _of_content(k: str, of: Mapping[str, Any]) -> Scores:
    return of["content"][k]


def _of_swap(name: str, k: str, of: Mapping[str, Any]) -> Scores:
    return None if of[name][k] is None else {"accuracy": of[name][k]}


def _table(
    title: str, columns: Mapping[str, Any], rows: Sequence[Row], chance: float | None = None
) -> Iterator[str]:
    """Lines of a table, without the columns and rows of which nothing is known."""
    columns = {name: of for name, of in columns.items() if of is not None}
    yield f"{title:42}" + "".join(f"{name:>11}" for name in columns) + ("     chance" if chance else "")
    for name, pick in rows:
        scores = [pick(of) for of in columns.values()]
        if scores[0] is not None:
            cells = "".join(f"{score['accuracy']:11.3f}" if score else f"{'-':>11}" for score in scores)
            yield f"  {name:40}{cells}" + (f"{chance:11.3f}" if chance else "")
