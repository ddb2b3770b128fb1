"""What a data set is known by, to tell it from another and find each observation again."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.labels import name_of

# Of larger data only so much is read: about a second.
MOST_BYTES, MOST_ROWS = 2**30, 2**20
_CHUNK = 4096
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Identity:
    """What the observations of a data set are known by, see :func:`identify`.

    Attributes:
        key: a hash of each observation, int64 ``[N]``.
        group: index of each observation's group into ``group_names``, int64 ``[N]``.
        group_names: what the groups are called, as text.
        labels: a digest of the label of each observation, hexadecimal.
        every: of so many observations one was read.
    """

    key: Tensor
    group: Tensor
    group_names: tuple[str, ...]
    labels: str
    every: int = 1

    def __len__(self) -> int:
        return len(self.key)

    @property
    def digest(self) -> str:
        """A digest of all of it, the order of the observations included, hexadecimal."""
        return blake2b(
            self.key.numpy().tobytes() + self.labels.encode(), digest_size=16
        ).hexdigest()

    def places_of(self, keys: Tensor) -> Tensor:
        """The position here of each observation, by its key, int64 ``[M]``; -1 where it has none.

        Each position is given once, so of equal observations no more are found than are here.

        >>> identity = identify(GroupedDataset.from_arrays([[0.0], [0.5]], ["ann", "bob"]))
        >>> identity.places_of(identity.key.flip(0).repeat(2))
        tensor([ 1,  0, -1, -1])
        """
        if torch.equal(self.key, keys):
            return torch.arange(len(self))
        places: dict[int, list[int]] = defaultdict(list)
        for place, key in reversed(list(enumerate(self.key.tolist()))):
            places[key].append(place)
        return torch.tensor([places[k].pop() if places[k] else -1 for k in keys.tolist()])

    def difference(self, now: Identity) -> str:
        """How ``now``, the data at a later time, differs, in words; empty where it does not.

        >>> first = identify(GroupedDataset.from_arrays([[0.0], [0.5]], ["ann", "bob"]))
        >>> grown = identify(GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "c"]))
        >>> first.difference(grown)
        "it has 3 observations, not 2, and the group 'c' is new"
        """
        if self.digest == now.digest:
            return ""
        found = self.places_of(now.key)
        here = torch.zeros(len(self), dtype=torch.bool)
        here[found[found >= 0]] = True
        lost, new = self._sizes(~here), now._sizes(found < 0)
        before, after = self._sizes(), now._sizes()
        changed = {name: min(lost[name], new[name]) for name in lost if new[name]}
        parts = []
        if len(self) != len(now):
            parts.append(f"it has {len(now)} observations, not {len(self)}")
        for names, what in ((after.keys() - before, "new"), (before.keys() - after, "gone")):
            if names:
                plural = len(names) > 1
                parts.append(
                    f"the group{'s' * plural} {_listed(names)} {'are' if plural else 'is'} {what}"
                )
        if changed:
            parts.append(f"{sum(changed.values())} of {_listed(changed)} have other values")
        if not parts and (lost or new):
            parts = [f"observations of {_listed(lost)} are gone, and {_listed(new)} have others"]
        if not parts:
            same = torch.equal(self.key, now.key)
            parts = ["its labels are others" if same else "its observations are in another order"]
        return ", and ".join(parts)

    def _sizes(self, which: Tensor | slice = slice(None)) -> Counter[str]:
        """The number of observations of each group that has one."""
        return Counter(self.group_names[i] for i in self.group[which].tolist())


def identify(data: GroupedDataset, *, every: int | None = None) -> Identity:
    """What the observations are known by: the name of the group of each, and the bytes of its x.

    So an observation is found again in data that has grown, was put in another order, or lies
    elsewhere. Of data with more than a GiB of x, or more than a million observations, one in so
    many is read, that there are no more; the others are known by their group and their position
    alone.

    Args:
        data: the data set as it was loaded.
        every: one in how many is read, if it is to be compared with an identity that has been
            recorded.

    >>> data = GroupedDataset.from_arrays([[0.0], [0.5]], ["ann", "bob"])
    >>> identify(data).digest == identify(data.subset(torch.tensor([0, 1]))).digest
    True
    >>> identify(data).digest == identify(data.subset(torch.tensor([1, 0]))).digest
    False
    """
    names = tuple(name_of(name) for name in data.group_names)
    # A name may hold the bytes of a file name that is no text.
    of_groups = [_hash(name.encode("utf-8", "surrogatepass")) for name in names]
    if every is None:
        size = data.x.dtype.itemsize * math.prod(data.event_shape)
        every = max(1, math.ceil(len(data) * size / MOST_BYTES), math.ceil(len(data) / MOST_ROWS))
    # Overflows, which does no harm.
    key = np.frombuffer(b"".join(of_groups), "<i8")[data.group.numpy()] + np.arange(len(data))
    for read in torch.arange(0, len(data), every).split(_CHUNK):
        rows = data.subset(read)
        x = rows.x if isinstance(rows.x, Tensor) else rows.x.read(slice(None))
        values = x.detach().cpu().reshape(len(read), -1).contiguous().view(torch.uint8).numpy()
        hashes = [
            _hash(row.data, of_groups[g])
            for row, g in zip(values, rows.group.tolist(), strict=True)
        ]
        key[read.numpy()] = np.frombuffer(b"".join(hashes), "<i8")
    labels = (
        json.dumps([name_of(name) for name in data.label_names]).encode()
        + data.label.numpy().tobytes()
    )
    return Identity(torch.from_numpy(key), data.group, names, _hash(labels).hex(), every)


def _hash(content: bytes | memoryview, key: bytes = b"") -> bytes:
    return blake2b(content, digest_size=8, key=key).digest()


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(repr(name) for name in ordered[:_NAMED]) + more
