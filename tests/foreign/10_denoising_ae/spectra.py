"""Artificial emission spectra: three peaks whose positions and widths depend on two hidden numbers."""
import numpy as np

CHANNELS = 48


def make_spectra(n, seed):
    rng = np.random.RandomState(seed)
    grid = np.arange(CHANNELS)[None, :]
    a = rng.uniform(0, 1, (n, 1))
    b = rng.uniform(0, 1, (n, 1))
    out = 50.0 * np.exp(-0.5 * ((grid - (8 + 6 * a)) / 2.5) ** 2)
    out += (20 + 40 * b) * np.exp(-0.5 * ((grid - 24) / (2 + 2 * a)) ** 2)
    out += 35.0 * np.exp(-0.5 * ((grid - (42 - 8 * b)) / 2.0) ** 2)
    out += 10.0 + rng.normal(0, 1.0, out.shape)
    return out.astype(np.float32)
