"""A classifier of observations themselves: whose label does a decoded observation show?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.scaling import Scaling, scaling_of

# So many values are read in training, over all observations; of larger data, fewer observations.
_MOST_VALUES = 5 * 10**7
_MOST_VISITS = 600_000


@dataclass(frozen=True)
class Reader:
    """A classifier of observations themselves, one hidden layer of 256; it knows of no latent.

    >>> from pyro_mlvae import load_dataset
    >>> train, test = load_dataset("digits").split(0.2, seed=0)
    >>> Reader.train(train).accuracy(test) > 0.9
    True
    """

    classifier: Any
    scaling: Scaling

    @classmethod
    def train(cls, data: GroupedDataset, *, seed: int = 0) -> Reader:
        """Fit it to the observations and labels of ``data``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        data = data.sample(max(1, _MOST_VALUES // data.event_shape.numel()), seed=seed)
        epochs = min(max(_MOST_VISITS // len(data), 5), 100)
        x, scaling = data.observations(), scaling_of(data, missing=True)
        classifier = MLPClassifier((256,), alpha=1e-3, max_iter=epochs, random_state=seed)
        with threadpool_limits(1), warnings.catch_warnings():
            # Stopping after a fixed number of epochs is the reader's definition, not a failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return cls(classifier.fit(_flat(scaling(x)), data.label.numpy()), scaling)

    def read(self, x: Tensor) -> Tensor:
        """The label that each of ``x [N, *event_shape]`` shows, ``[N]``."""
        with threadpool_limits(1):
            return torch.from_numpy(self.classifier.predict(_flat(self.scaling(x))))

    def accuracy(self, data: GroupedDataset) -> float:
        """How often it reads the label of ``data``'s own observations, none of them decoded.

        It says whether the reader can be trusted, and is no bound on what it reads off swaps:
        decoded observations are cleaner than real ones, and a swap of many can be read more often.
        """
        return float((self.read(data.observations()) == data.label).double().mean())


def _flat(x: Tensor) -> Any:
    return x.detach().flatten(1).cpu().numpy()
