"""What the harness knows of `spectra_denoising`: its generated spectra, its metric and its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import Integers, fixed
from ..spec import Array, Band, Field, JobData, JobSpec, Metric

GENERATOR = "spectra-1"
TRAIN_ROWS = 1200
SCORE_ROWS = 2000
CHANNELS = 24
SUBSTANCES = 6
LINES = CHANNELS // SUBSTANCES

# Everything is in units of 1 / 256. A substance shows lines of these heights, each with a skirt in both
# neighbouring channels. A sample holds about half of the substances, in amounts up to one. The cheap detector
# clips what is higher than CEILING and adds noise.
HEIGHTS = np.array([256, 208, 160, 112])
SKIRT = 80
LEAST_AMOUNT = 64
CEILING = 150
NOISE = 36

DECIMALS = 8
UNIT = 1 << DECIMALS


def channel_skill(output: Array, labels: Array) -> float:
    """1 - squared error / variance, channel by channel and averaged: 1 is perfect, 0 is the mean spectrum.

    output and labels (rows, channels). Spectra that are not all finite count as the mean spectrum.
    """
    truth, guess = labels.astype(np.float64), output.astype(np.float64)
    if not np.isfinite(guess).all():
        return 0.0
    error = np.mean((guess - truth) ** 2, axis=0)
    return float(1.0 - np.mean(error / np.var(truth, axis=0)))


def generate(seed: int) -> JobData:
    """The data of one seed: train (sample, noisy, clean), score (noisy); spectra have 24 channels.

    The seed decides which four lines belong to which substance and how high each of them is, and the gain and
    background of both detectors in every channel. Each channel is the middle of exactly one line.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    amount = LEAST_AMOUNT + draw.below("amount", 257 - LEAST_AMOUNT, (rows, SUBSTANCES))
    amount *= draw.bits("present", (rows, SUBSTANCES), width=8) & 1

    place = draw.permutation("lines", CHANNELS).reshape(SUBSTANCES, LINES)
    lines = np.zeros((SUBSTANCES, CHANNELS + 2), dtype=np.int64)
    for one, where in enumerate(place):
        for step, height in ((-1, SKIRT), (0, 256), (1, SKIRT)):
            lines[one, where + 1 + step] += HEIGHTS * height >> 8
    pure = (amount[:, :, None] * lines[None, :, 1:-1]).sum(axis=1) >> 8
    cheap = np.minimum(pure, CEILING) + (draw.bell("noise", (rows, CHANNELS)) * NOISE >> 8)

    gain = 4 * UNIT + draw.below("gain", 12 * UNIT, (2, CHANNELS))
    background = 20 * UNIT + draw.below("background", 60 * UNIT, (2, CHANNELS))
    noisy = fixed((cheap * gain[0] >> 8) + background[0], DECIMALS)
    clean = fixed((pure * gain[1] >> 8) + background[1], DECIMALS)
    return JobData(
        train={
            "sample": 3000 + draw.permutation("ids", TRAIN_ROWS),
            "noisy": noisy[:TRAIN_ROWS],
            "clean": clean[:TRAIN_ROWS],
        },
        score={"noisy": noisy[TRAIN_ROWS:]},
        score_labels=clean[TRAIN_ROWS:],
    )


SGD = "optim.SGD(network.parameters(), lr=args.lr, momentum=0.9, nesterov=True)"
NADAM = "optim.NAdam(network.parameters(), lr=0.005)"


def default(option: str, old: str, new: str) -> tuple[tuple[str, str, str], ...]:
    """Another default of one option of the command line."""
    return (("train.py", f'"--{option}, default={old}', f'"--{option}, default={new}'),)


ALTERNATIVES = (
    Alternative("other seed", (("train.py", "type=int, default=5", "type=int, default=6"),)),
    Alternative("learning rate x 0.5", default('lr", type=float', "0.2", "0.1")),
    Alternative("learning rate x 2", default('lr", type=float', "0.2", "0.4")),
    Alternative("batches of 32", default('batch-size", type=int', "40", "32")),
    Alternative("batches of 56", default('batch-size", type=int', "40", "56")),
    Alternative("14 epochs", default('epochs", type=int', "10", "14")),
    Alternative("NAdam", (("train.py", SGD, NADAM),)),
    Alternative("an average that follows faster", default('ema-decay", type=float', "0.95", "0.9")),
    Alternative("held out 0.3", default('held-out", type=float', "0.2", "0.3")),
    Alternative("dropout 0.1", (("autoencoder.py", "dropout=0.05", "dropout=0.1"),)),
    Alternative("hidden width 36", (("autoencoder.py", "hidden=48", "hidden=36"),)),
    Alternative("a code of 10", (("autoencoder.py", "code=8", "code=10"),)),
)

SPEC = JobSpec(
    name="spectra_denoising",
    title="Restore spectra of a good detector from those of a cheap one with a denoising autoencoder",
    modality="signal",
    files=("train.py", "autoencoder.py"),
    row_unit="spectrum",
    fields=(
        Field("sample", "id"),
        Field("noisy", "continuous", decimals=DECIMALS),
        Field("clean", "label_value", decimals=DECIMALS),
    ),
    output_shape=(CHANNELS,),
    metric=Metric("channel_skill", channel_skill),
    band=Band(
        floor=0.85,
        margin=0.03,
        reason="the reference and 12 honest alternatives on data seeds 0 to 19, 260 runs: reference mean "
        "0.882, sd 0.003, min 0.877; lowest of all 0.8662 (learning rate x 0.5; next 0.8666, NAdam); largest "
        "sd 0.004. Floor: the lowest less a slack of 0.01, rounded down. Margin: ten times the machine noise "
        "of 0.003. Far below, on data seeds 0 and 1: an output that cannot be negative 0.46, only the last "
        "layer learns 0.48, gradients that are not zeroed -0.31 at most.",
    ),
    generate=generate,
    generator=GENERATOR,
    reseed_factor=1.07,
)
