"""Reviews as arrays: reading them, splitting them, their vocabulary, and mini-batches of them."""

import numpy as np
import torch

PADDING, UNKNOWN = 0, 1
SPECIAL = 2  # indices that stand for no word


def read_arrays(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def split(count, share, seed):
    """Positions of the reviews to train on and of those to keep apart."""
    order = np.random.default_rng(seed).permutation(count)
    kept_apart = int(share * count)
    return order[kept_apart:], order[:kept_apart]


class Vocabulary:
    """The words that get an embedding of their own, and how telling each of them is.

    Word 0 fills up short reviews. Words in fewer than `min_reviews` of the reviews share one index.
    """

    def __init__(self, min_reviews):
        self.min_reviews = min_reviews
        self.words = np.zeros(0, dtype=np.int64)
        self.rarity = np.zeros(0, dtype=np.float32)

    def __len__(self):
        return len(self.words) + SPECIAL

    def fit(self, reviews):
        ordered = np.sort(reviews, axis=1)
        once = np.diff(ordered, axis=1, prepend=PADDING) != 0  # the first of each run of equal words
        words, found_in = np.unique(ordered[once], return_counts=True)
        common = found_in >= self.min_reviews
        self.words = words[common]
        rarity = np.log(len(reviews) / found_in[common])  # inverse document frequency
        self.rarity = np.concatenate([[0.0, 1.0], rarity / rarity.mean()]).astype(np.float32)
        return self

    def transform(self, reviews):
        """Words as indices into the embedding, as a tensor of the same shape."""
        nearest = np.searchsorted(self.words, reviews).clip(max=len(self.words) - 1)
        index = np.where(self.words[nearest] == reviews, nearest + SPECIAL, UNKNOWN)
        index[reviews == 0] = PADDING
        return torch.from_numpy(index)


class Batches:
    """Passes over reviews and their topics, each in a new order."""

    def __init__(self, reviews, topics, size):
        self.reviews, self.topics, self.size = reviews, topics, size

    def __len__(self):
        return -(-len(self.topics) // self.size)

    def __iter__(self):
        for pick in torch.randperm(len(self.topics)).split(self.size):
            yield self.reviews[pick], self.topics[pick]
