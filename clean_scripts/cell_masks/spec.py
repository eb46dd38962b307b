"""What the harness knows of `cell_masks`: small images of cells among look-alikes, its metric, its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import IntArray, Integers, fixed
from ..spec import Band, Field, JobData, JobSpec, Metric, binary_skill

GENERATOR = "cells-among-look-alikes-1"
TRAIN_ROWS = 500
SCORE_ROWS = 2000
SIZE = 12

# An image shows OBJECTS bent rods, a cell or a look-alike each: the same rod, turned by a right angle.
OBJECTS = 2
ROD = np.array(
    [
        [0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
)

# Grey levels are multiples of 1 / 16; what follows is in grey levels.
DECIMALS = 4
UNIT = 1 << DECIMALS
GROUND = (100, 160)
GROUND_SPREAD = 10
CONTRAST = (40, 80)
NOISE = 18


def rods(draw: Integers) -> IntArray:
    """The look-alike and the cell of a seed, shape (2, 5, 5): two of the eight ways a rod can lie."""
    cell = np.rot90(ROD, int(draw.below("turn", 4, (1,))[0]))
    if draw.below("mirror", 2, (1,))[0]:
        cell = cell.T
    return np.stack([np.rot90(cell), cell])


def generate(seed: int) -> JobData:
    """The data of one seed: train (row, image, mask), score (image); images and masks (rows, 12, 12).

    The seed decides which way a cell lies, and whether rods are brighter or darker than the ground. A pixel's
    label is whether it belongs to a cell, also where a look-alike lies across it.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    kind = draw.bits("kind", (rows, OBJECTS), width=8) & 1
    top, left = draw.below("place", SIZE - len(ROD) + 1, (2, rows, OBJECTS))
    inside = np.zeros((rows, OBJECTS, SIZE, SIZE), dtype=np.int64)
    steps = np.arange(len(ROD))
    row, number = np.arange(rows)[:, None, None, None], np.arange(OBJECTS)[None, :, None, None]
    y, x = top[:, :, None, None] + steps[:, None], left[:, :, None, None] + steps
    inside[row, number, y, x] = rods(draw)[kind]

    mask = (inside * kind[:, :, None, None]).max(axis=1)
    weakest, strongest = CONTRAST
    contrast = weakest * UNIT + draw.below("contrast", (strongest - weakest) * UNIT, (rows, OBJECTS))
    ink = (inside * contrast[:, :, None, None]).max(axis=1) * draw.signs("polarity", (1,))
    darkest, brightest = GROUND
    level = (darkest + draw.below("ground", brightest - darkest, (1,))) * UNIT
    level = level + (draw.bell("ground of an image", (rows,)) * GROUND_SPREAD * UNIT >> 8)
    grey = level[:, None, None] + ink + (draw.bell("grain", (rows, SIZE, SIZE)) * NOISE * UNIT >> 8)

    image = fixed(grey, DECIMALS)
    return JobData(
        train={
            "row": 100 + draw.permutation("row ids", TRAIN_ROWS),
            "image": image[:TRAIN_ROWS],
            "mask": mask[:TRAIN_ROWS],
        },
        score={"image": image[TRAIN_ROWS:]},
        score_labels=mask[TRAIN_ROWS:],
    )


ADAMW = "torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.weight_decay)"
SCHEDULE = "torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=args.epochs * len(train_loader))"
ONE_CYCLE = "torch.optim.lr_scheduler.OneCycleLR(opt, args.lr, args.epochs * len(train_loader))"
EPOCHS = '"--epochs", type=int, default='
SEED = '"--seed", type=int, default='
MEAN_STD = "mean, std = img[train_ix].mean(), img[train_ix].std()"
RANGE = "mean, std = img[train_ix].min(), img[train_ix].max() - img[train_ix].min()"

ALTERNATIVES = (
    Alternative("other seed", (("train.py", SEED + "5", SEED + "6"),)),
    Alternative("learning rate x 0.5", (("train.py", "default=0.05)", "default=0.025)"),)),
    Alternative("learning rate x 2", (("train.py", "default=0.05)", "default=0.1)"),)),
    Alternative("batches of 20", (("train.py", "default=16)", "default=20)"),)),
    Alternative("7 epochs", (("train.py", EPOCHS + "5", EPOCHS + "7"),)),
    Alternative("one cycle", (("train.py", SCHEDULE, ONE_CYCLE),)),
    Alternative("Adam", (("train.py", ADAMW, "torch.optim.Adam(net.parameters(), lr=args.lr)"),)),
    Alternative("width 9", (("unet.py", "base=6", "base=9"),)),
    Alternative("no dropout", (("unet.py", "p_drop=0.1", "p_drop=0.0"),)),
    Alternative("no dice term", (("train.py", "default=0.5)", "default=0.0)"),)),
    Alternative("test on 0.15", (("train.py", "default=0.2)", "default=0.15)"),)),
    Alternative("range 0 to 1 of the training images", (("train.py", MEAN_STD, RANGE),)),
)

SPEC = JobSpec(
    name="cell_masks",
    title="Outline cells among look-alikes on small grey images with a U-Net",
    modality="image",
    files=("train.py", "unet.py"),
    row_unit="image",
    fields=(
        Field("row", "id"),
        Field("image", "continuous", decimals=DECIMALS),
        Field("mask", "label_binary"),
    ),
    output_shape=(SIZE, SIZE),
    metric=Metric("binary_skill", binary_skill),
    band=Band(
        floor=0.74,
        margin=0.03,
        reason="the reference and 12 honest alternatives on data seeds 0 to 19, 260 runs (python -m "
        "mldebug.grader.calibrate cell_masks): reference mean 0.814, sd 0.016, min 0.779; lowest of all "
        "0.750 (no dice term; the next 0.751, range 0 to 1); largest sd 0.024. Floor: the lowest less a "
        "slack of 0.01, rounded down. Margin: ten times the machine noise of 0.003. On seed 0 the nearest "
        "bugs reach 0.609 (a hundred times the learning rate), 0.580 (gradients cleared once an epoch) and "
        "0.478 (never cleared); only the last layer learns 0.131, parameters that start at zero -0.024.",
    ),
    generate=generate,
    generator=GENERATOR,
    reseed_factor=1.22,
)
