"""Smart-meter windows: reading the archives, cutting them into three parts, bringing them to one scale."""

from collections import namedtuple

import numpy as np
import torch

Part = namedtuple("Part", "meter window future")


def prepare(folder, val_fraction, test_fraction, seed):
    """The three parts, the windows that wait for a forecast, and the scale (mean, std) of the loads."""
    with np.load(f"{folder}/train.npz") as archive:
        meter, window, future = (archive[key] for key in ("meter", "window", "next_load"))
    with np.load(f"{folder}/score.npz") as archive:
        waiting = archive["window"]

    # one part to fit, one to stop by, one to report
    order = np.random.default_rng(seed).permutation(len(meter))
    n_test = round(len(order) * test_fraction)
    n_held = n_test + round(len(order) * val_fraction)
    held_idx, train_idx = order[:n_held], order[n_held:]
    test_idx, val_idx = held_idx[:n_test], held_idx[n_test:]

    # The channels come in kilowatts, degrees and watts per square metre.
    mean = window[train_idx].mean(axis=(0, 1))
    std = window[train_idx].std(axis=(0, 1))
    load_mean = float(future[train_idx].mean())
    load_std = float(future[train_idx].std())

    train_window = torch.from_numpy((window[train_idx] - mean) / std)
    val_window = torch.from_numpy((window[val_idx] - mean) / std)
    test_window = torch.from_numpy((window[test_idx] - mean) / std)
    waiting = torch.from_numpy((waiting - mean) / std)

    future = torch.from_numpy((future - load_mean) / load_std)
    train = Part(meter[train_idx], train_window, future[train_idx])
    val = Part(meter[val_idx], val_window, future[val_idx])
    test = Part(meter[test_idx], test_window, future[test_idx])
    return train, val, test, waiting, (load_mean, load_std)
