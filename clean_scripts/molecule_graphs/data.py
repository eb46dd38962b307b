"""Molecules on disk: atom features (atoms, features) and bonds (atoms, atoms), a row each."""

import numpy as np
import torch
from torch.utils.data import Dataset


class Molecules(Dataset):
    """(atoms, bonds, label) of one row, or of many (a list, a slice); -1 for a label nobody knows."""

    def __init__(self, atoms, bonds, labels=None):
        self.atoms = torch.as_tensor(atoms, dtype=torch.float32)
        self.bonds = torch.as_tensor(bonds, dtype=torch.float32)
        self.labels = torch.full((len(atoms),), -1) if labels is None else torch.as_tensor(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, rows):
        return self.atoms[rows], self.bonds[rows], self.labels[rows]


def read(path):
    """All arrays of an archive, by name."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}
