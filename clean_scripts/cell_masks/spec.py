"""What the harness knows of `cell_masks`: small images of cells among look-alikes, its metric, its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import Integers, fixed
from ..spec import Band, Field, JobData, JobSpec, Metric, binary_skill

GENERATOR = "cells-and-rods-1"
TRAIN_ROWS = 600
SCORE_ROWS = 2000
SIZE = 16

# An image shows OBJECTS rods, a cell or a look-alike each: the same rod, lying across. Which of the two ways
# is a cell's, and whether they are brighter or darker than the ground, is up to the seed.
OBJECTS = 4
LONG, SHORT = 7, 3

# Grey levels are multiples of 1 / 16; what follows is in grey levels.
DECIMALS = 4
UNIT = 1 << DECIMALS
GROUND = (100, 160)
GROUND_SPREAD = 10
CONTRAST = (40, 80)
NOISE = 18


def generate(seed: int) -> JobData:
    """The data of one seed: train (row, image, mask), score (image); images and masks (rows, 16, 16).

    A pixel's label is whether it belongs to a cell, also where a look-alike lies across it.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    upright = draw.bits("kind", (rows, OBJECTS), width=8) & 1
    height = np.where(upright == 1, LONG, SHORT)[:, :, None, None]
    width = np.where(upright == 1, SHORT, LONG)[:, :, None, None]
    top = (draw.bits("top", (rows, OBJECTS))[:, :, None, None] * (SIZE - height + 1)) >> 16
    left = (draw.bits("left", (rows, OBJECTS))[:, :, None, None] * (SIZE - width + 1)) >> 16
    y, x = np.arange(SIZE)[:, None], np.arange(SIZE)
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)

    cell = int(draw.below("which is a cell", 2, (1,))[0])
    mask = (inside & (upright == cell)[:, :, None, None]).any(axis=1)
    weakest, strongest = CONTRAST
    contrast = weakest * UNIT + draw.below("contrast", (strongest - weakest) * UNIT, (rows, OBJECTS))
    ink = (inside * contrast[:, :, None, None]).max(axis=1) * draw.signs("polarity", (1,))
    darkest, brightest = GROUND
    level = (darkest + draw.below("ground", brightest - darkest, (1,))) * UNIT
    level = level + (draw.bell("ground of an image", (rows,)) * GROUND_SPREAD * UNIT >> 8)
    grey = level[:, None, None] + ink + (draw.bell("grain", (rows, SIZE, SIZE)) * NOISE * UNIT >> 8)

    image = fixed(grey, DECIMALS)
    label = mask.astype(np.int64)
    return JobData(
        train={
            "row": 100 + draw.permutation("row ids", TRAIN_ROWS),
            "image": image[:TRAIN_ROWS],
            "mask": label[:TRAIN_ROWS],
        },
        score={"image": image[TRAIN_ROWS:]},
        score_labels=label[TRAIN_ROWS:],
    )


ADAMW = "torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.weight_decay)"
SCHEDULE = "torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=args.epochs * len(train_loader))"
MEAN_STD = "mean, std = img[train_ix].mean(), img[train_ix].std()"

ALTERNATIVES = (
    Alternative(
        "other seed", (("train.py", '"--seed", type=int, default=5', '"--seed", type=int, default=6'),)
    ),
    Alternative("learning rate x 0.5", (("train.py", "default=0.03)", "default=0.015)"),)),
    Alternative("learning rate x 2", (("train.py", "default=0.03)", "default=0.06)"),)),
    Alternative("batches of 16", (("train.py", "default=24)", "default=16)"),)),
    Alternative("batches of 32", (("train.py", "default=24)", "default=32)"),)),
    Alternative(
        "7 epochs", (("train.py", '"--epochs", type=int, default=5', '"--epochs", type=int, default=7'),)
    ),
    Alternative(
        "constant learning rate of 0.01",
        (("train.py", "            schedule.step()\n", ""), ("train.py", "default=0.03)", "default=0.01)")),
    ),
    Alternative(
        "one cycle",
        (
            (
                "train.py",
                SCHEDULE,
                "torch.optim.lr_scheduler.OneCycleLR(opt, args.lr, args.epochs * len(train_loader))",
            ),
        ),
    ),
    Alternative("Adam", (("train.py", ADAMW, "torch.optim.Adam(net.parameters(), lr=args.lr)"),)),
    Alternative("group norm", (("unet.py", "nn.BatchNorm2d(c_out)", "nn.GroupNorm(4, c_out)"),)),
    Alternative("width 12", (("unet.py", "base=8", "base=12"),)),
    Alternative("no dropout", (("unet.py", "p_drop=0.1", "p_drop=0.0"),)),
    Alternative("no dice term", (("train.py", "default=0.5)", "default=0.0)"),)),
    Alternative("test on 0.1", (("train.py", "default=0.2)", "default=0.1)"),)),
    Alternative(
        "range 0 to 1 of the training images",
        (
            (
                "train.py",
                MEAN_STD,
                "mean, std = img[train_ix].min(), img[train_ix].max() - img[train_ix].min()",
            ),
        ),
    ),
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
    band=Band(floor=0.74, margin=0.03, reason="not yet measured"),
    generate=generate,
    generator=GENERATOR,
    reseed_factor=1.2,
)
