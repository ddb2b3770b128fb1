"""Whether what training draws from is what test time reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyro_mlvae.checking.pair import Pair, Sites
from pyro_mlvae.checking.structure import frames_of
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.group_weights import SUPER_GROUPS
from pyro_mlvae.estimators.programs import in_mode, module_of
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.models import MLVAE


def consistency_faults(pair: Pair, batch: GroupedBatch) -> Iterator[str]:
    """Sites whose distribution is not that of the method which everything at test time calls.

    Where groups share a latent of their super-group, content is drawn given it, and the methods,
    which give content by itself, say something else by design.
    """
    guide, model = (module_of(pair.programs[kind]) for kind in ("guide", "model"))
    with in_mode(*pair.programs.values(), training=False):
        sites = {"guide": pair.sites("guide", batch, {})}
        draws = {name: site["value"].detach() for name, site in sites["guide"].items()}
        sites["model"] = pair.sites("model", batch, draws)
        methods: dict[tuple[str, str], tuple[str, Callable[[], Any]]] = {}
        if isinstance(guide, GroupedGuide):
            methods["guide", "content"] = (
                "content_posterior",
                lambda: guide.content_posterior(guide.encode(batch.x), batch.groups),
            )
            methods["guide", "style"] = (
                "style_posterior",
                lambda: guide.style_posterior(
                    guide.encode(batch.x), draws["content"].index_select(-2, batch.group)
                ),
            )
        if isinstance(model, MLVAE):
            methods["model", "content"] = (
                "content_prior",
                lambda: model.content_prior(batch.groups),
            )
            methods["model", "style"] = ("style_prior", lambda: model.style_prior(batch.groups))
        for (kind, name), (method, read) in methods.items():
            site = sites[kind].get(name)
            if site is None or (name == "content" and _has_super_groups(sites[kind])):
                continue
            with pair.run(f"{method} of the {kind}", batch):
                drawn = site["fn"].log_prob(site["value"])
                other = read().log_prob(site["value"])
            size = 1.0 + float(drawn.abs().max())
            if not float((drawn - other).abs().max()) <= 1e-4 * size:
                yield (
                    f"the {kind} draws {name!r} from another distribution in training than "
                    f"{method} gives, which test time reads: override {method}, and leave forward "
                    "as it is"
                )


def _has_super_groups(sites: Sites) -> bool:
    return any(SUPER_GROUPS in frames_of(site) for site in sites.values())
