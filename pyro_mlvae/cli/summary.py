"""What a run found, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from pyro_mlvae.cli.hints import hints
from pyro_mlvae.cli.tables import table
from pyro_mlvae.runs.config import RunConfig

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
        f"ELBO on {elbo['observations']} held-out observations in {elbo['groups']} groups of at "
        f"most {elbo['observations_per_group']}:",
        f"  {elbo['per_observation']:.2f}{error} {units} per observation "
        f"({elbo['per_group']:.2f} per group)",
        f"  = reconstruction {elbo['reconstruction']:.2f}{divergences}",
        f"  nested bound, {elbo['content_draws']} draws of content x {elbo['style_draws']} of "
        f"style: {elbo['nested_iwae_per_observation']:.2f}",
    ]
    if elbo["vae"] is not None:
        lines.append(
            f"  a plain VAE of the same size: {elbo['vae']['per_observation']:.2f} "
            f"({elbo['vae']['nested_iwae_per_observation']:.2f})"
        )
    for name, part in (
        ("probe", _probe_lines),
        ("unseen", _unseen_lines),
        ("swap", _swap_lines),
        ("factors", _factor_lines),
    ):
        if metrics[name] is not None:
            lines += ["", *part(metrics[name])]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in metrics["warnings"])])


def print_results(metrics: Mapping[str, Any], config: RunConfig) -> None:
    """Print what a run found, and what to do next where a number asks for it."""
    print(summary(metrics))
    for hint in hints(metrics, hsic=config.hsic, network=config.network):
        print(f"next: {hint}")


def _probe_lines(probe: Mapping[str, Any]) -> Iterator[str]:
    # The parts of a VAE's latent have no roles, so what it knows is in the whole of it.
    vae = probe["vae"]
    whole = vae and {"style": {}, "content": vae["latent"]}
    columns = {"trained": probe, "VAE": vae, "VAE, whole": whole, "untrained": probe["untrained"]}
    rows: list[Row] = [
        (f"style, {name}", partial(_of_style, way))
        for way, name in (
            ("draws", "a draw (low is good)"),
            ("loc", "loc"),
            ("loc_and_scale", "loc, scale"),
        )
    ]
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
    auc: list[Row] = [
        ("same group or not, ROC AUC", lambda of: {"accuracy": of["verification_auc"]})
    ]
    yield from _table("Pairs with an unseen group", columns, auc, 0.5)


def _swap_lines(swap: Mapping[str, Any]) -> Iterator[str]:
    columns = {"trained": swap, "VAE": swap["vae"]}
    rows: list[Row] = [
        (f"{what}, content of {k}", partial(_of_swap, name, k))
        for name, what in (
            ("consistency", "content donor's"),
            ("style_zeroed", "so with zero style"),
            ("style_donor", "style donor's"),
        )
        for k in swap[name]
    ]
    yield from _table("Whose label a reader sees in a swap", columns, rows)
    kept: list[Row] = [
        (f"content of {k}", partial(_of_swap, "style_kept", k)) for k in swap["style_kept"]
    ]
    yield from _table("How much style a swap keeps, R2", columns, kept)
    truths = {name: of and of["truth"] for name, of in columns.items()}
    if swap["truth"] is not None:
        yield from _truth_lines("Squared error against the truth", truths)
        if swap["truth"]["seen"] is not None:
            of_seen = {name: of and of["seen"] for name, of in truths.items()}
            yield from _truth_lines("The same, of groups it trained on", of_seen)


def _truth_lines(title: str, truths: Mapping[str, Any]) -> Iterator[str]:
    of = truths["trained"]
    copies = {
        "style donor": of["copy_style_donor"],
        "content donor": of["copy_content_donor"],
        "nearest": of["nearest_training"],
    }
    errors = {name: truth and truth["error"] for name, truth in truths.items()}
    errors |= {name: dict.fromkeys(of["error"], error) for name, error in copies.items()}
    yield from _table(
        title, errors, [(f"content of {k}", partial(_number, k)) for k in of["error"]]
    )


def _factor_lines(factors: Mapping[str, Any]) -> Iterator[str]:
    for part in ("seen", "unseen"):
        if factors[part] is not None:
            vae, untrained = factors["vae"], factors["untrained"]
            columns = {
                "style": factors[part]["style"]["draws"],
                "content": factors[part]["content"]["draws"],
                "VAE, whole": vae and vae[part]["latent"],
                "untrained": untrained[part]["style"]["draws"],
            }
            rows: list[Row] = [(name, partial(_number, name)) for name in columns["style"]]
            yield from _table(f"R2 of style's factors, {part} groups", columns, rows)


def _of_style(way: str, of: Mapping[str, Any]) -> Scores:
    return of["style"].get(way)


def _of_content(k: str, of: Mapping[str, Any]) -> Scores:
    return of["content"][k]


def _of_swap(name: str, k: str, of: Mapping[str, Any]) -> Scores:
    error = of["standard_error"].get(name, {}).get(k)
    return None if of[name][k] is None else {"accuracy": of[name][k], "standard_error": error}


def _number(name: str, of: Mapping[str, Any]) -> Scores:
    return None if of[name] is None else {"accuracy": of[name]}


def _cell(score: Scores) -> str:
    if not score:
        return "-"
    error = score.get("standard_error")
    return f"{score['accuracy']:.3f}" + ("" if error is None else f" ±{error:.3f}")


def _table(
    title: str, columns: Mapping[str, Any], rows: Sequence[Row], chance: float | None = None
) -> Iterator[str]:
    """A table, without the columns and rows of which nothing is known."""
    columns = {name: of for name, of in columns.items() if of is not None}
    scored = [(name, [pick(of) for of in columns.values()]) for name, pick in rows]
    last = [f"{chance:.3f}"] if chance else []
    known = [[name, *map(_cell, scores), *last] for name, scores in scored if scores[0] is not None]
    if known:
        yield table([title, *columns, *(["chance"] if chance else [])], known)
