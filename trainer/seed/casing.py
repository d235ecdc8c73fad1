"""One row of weights for a word, small or with a capital, so that they are known to be one word.

"Warm the sauna." asks for `warm_sauna`: to a model with a row for each token, `Warm` and `warm`
have no more in common than any two words, and a pair as rare as this is never learned. In training
the capitalised word has the row of the small one and a shift that all share; the model that is
written has plain rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tooln1_agent.codec import Codec
from trainer.seed.words import vocabulary


class Casing(NamedTuple):
    """Which tokens are capitalised words."""

    small: Tensor
    """(V,): of a capitalised word the id of the small one, of any other token its own."""
    capital: Tensor
    """(V, 1): 1.0 on capitalised words, else 0.0."""

    def rows(self, weight: Tensor, shift: Tensor) -> Tensor:
        """Return the embedding of each token: (V, H).

        Args:
            weight: (V, H), in which the rows of capitalised words are not read.
            shift: (H,).
        """
        return weight.index_select(0, self.small) + self.capital * shift


def casing_of(codec: Codec, *, size: int) -> Casing:
    """Find the words of the world that are a token both small and with a capital.

    Args:
        size: V, of the model.
    """
    ids = {codec.decode([i]): i for i in range(codec.vocab_size)}
    small, capital = torch.arange(size), torch.zeros((size, 1))
    for word in vocabulary():
        if word.lower() != word and {word, word.lower()} <= ids.keys():
            small[ids[word]], capital[ids[word]] = ids[word.lower()], 1.0
    return Casing(small, capital)
