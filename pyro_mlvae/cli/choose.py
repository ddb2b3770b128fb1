"""Which observations a command shows: named by position, or drawn by the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_mlvae.cli.source import Source
from pyro_mlvae.data.grouping import subsample_groups
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError


@dataclass(frozen=True, eq=False)
class Choice:
    """Chooses among the observations of a data set, of those that the run was not trained on.

    Contents, styles and evidence are drawn apart, so that naming the one leaves the draws of the
    others as they are.
    """

    source: Source
    candidates: Tensor
    seed: int

    @classmethod
    def of(cls, source: Source, seed: int) -> Choice:
        """Among what the run was not trained on."""
        return cls(source, source.held_out(), seed)

    @property
    def kind(self) -> str:
        """What candidates are called."""
        return "held-out observations" if self.source.own else "observations"

    def named(self, flag: str, index: Sequence[int]) -> Tensor:
        """Those positions; an :class:`InputError` names ``flag`` where there are none such."""
        count = len(self.source.data)
        for position in index:
            if not 0 <= position < count:
                raise InputError(
                    f"{flag} {position}: expected 0..{count - 1}, the position of one of the "
                    f"{count} observations of {self.source.name}"
                )
        return torch.tensor(index)

    def contents(self, most: int, at_least: int = 1) -> Tensor:
        """One candidate of each of up to ``most`` groups that have enough, by group."""
        data = self.source.data
        group = data.group[self.candidates]
        sizes = group.bincount(minlength=data.num_groups)
        large = (sizes >= at_least).nonzero().flatten()
        if not len(large):
            name = data.group_names[int(sizes.argmax())]
            raise InputError(
                f"--evidence {at_least}: expected at most {int(sizes.max())}, the number of "
                f"{self.kind} of the largest group, {name!r}"
            )
        generator = self._generator(0)
        chosen = large[torch.randperm(len(large), generator=generator)[:most]]
        one_each = torch.zeros_like(sizes).index_fill(0, chosen, 1)
        drawn = subsample_groups(group, one_each, generator)
        return self.candidates[drawn][group[drawn].argsort()]

    def styles(self, most: int, apart_from: Tensor) -> Tensor:
        """Up to ``most`` candidates of any group, if possible none of ``apart_from``."""
        others = self.candidates[~torch.isin(self.candidates, apart_from)]
        return self._draw(others if len(others) else self.candidates, most, self._generator(1))

    def some(self, count: int) -> Tensor:
        """``count`` candidates, of as many groups where there are as many."""
        of_groups = self.contents(count)
        if len(of_groups) == count:
            return of_groups
        if len(self.candidates) < count:
            raise InputError(
                f"{self.source.name} must have at least {count} {self.kind} to draw from, got "
                f"{len(self.candidates)}: name observations with --content"
            )
        return self._draw(self.candidates, count, self._generator(0))

    def same(
        self, content: Sequence[int], style: Sequence[int], count: int, expected: str
    ) -> tuple[Tensor, Tensor]:
        """``count`` observations for content and for style, the same if one is not named."""
        named = {}
        for flag, index in (("--content", content), ("--style", style)):
            if len(index) not in (0, count):
                raise InputError(f"{flag} takes {expected}, got {len(index)}")
            if index:
                named[flag] = self.named(flag, index)
        either = next(iter(named.values())) if named else self.some(count)
        return named.get("--content", either), named.get("--style", either)

    def evidence(self, contents: Tensor, count: int) -> Tensor:
        """Each of ``contents`` and ``count - 1`` candidates of its group, ``[rows, count]``."""
        data, generator = self.source.data, self._generator(2)
        group = data.group[self.candidates]
        rows = []
        for position in contents.tolist():
            own = data.group[position]
            others = self.candidates[(group == own) & (self.candidates != position)]
            if len(others) < count - 1:
                raise InputError(
                    f"--evidence {count}: expected at most {len(others) + 1} for observation "
                    f"{position}, whose group {data.group_names[own]!r} has {len(others)} other "
                    f"{self.kind}"
                )
            drawn = self._draw(others, count - 1, generator)
            rows.append(torch.cat([torch.tensor([position]), drawn]))
        return torch.stack(rows)

    def _draw(self, among: Tensor, most: int, generator: torch.Generator) -> Tensor:
        return among[torch.randperm(len(among), generator=generator)[:most]]

    def _generator(self, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(mixed_seed(self.seed, purpose))
