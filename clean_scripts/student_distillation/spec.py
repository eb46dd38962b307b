"""What the harness knows of `student_distillation`: its generated windows, its metric and its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import Integers, fixed, table
from ..spec import Band, Field, JobData, JobSpec, Metric, brier_skill

GENERATOR = "wrist-windows-1"
TRAIN_ROWS = 900
SCORE_ROWS = 2000
CHANNELS = 3
STEPS = 32

# An activity is one of three paces in one of two ways of moving: six of them. A way says how far behind the
# first channel the other two lag, in 1 / 256 turns; paces are in 1 / 256 turns a step.
TURN = 256
PACES = np.array([(13, 22, 36), (14, 24, 38), (12, 21, 34), (13, 23, 39)])
LAGS = np.array([(0, 0, 64), (0, 128, 64)])
ACTIVITIES = PACES.shape[1] * len(LAGS)

# In 1 / 256 units: the amplitude of a movement (people differ), the noise of each step, and how the sensor is
# worn: what a whole window is moved by in each channel.
WEAKEST, STRONGEST = 180, 420
NOISE = 330
WORN = 200

DECIMALS = 6
UNIT = 1 << DECIMALS


def generate(seed: int) -> JobData:
    """The data of one seed: train (window, channels, activity), score (channels); channels (rows, 3, 32).

    The seed decides the paces, which activity is which pace and way, which channel is which, and the sign,
    the sensitivity and the resting level of each. Windows differ in strength and in where a movement begins.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    activity = draw.below("activity", ACTIVITIES, (rows,))
    kind = draw.permutation("activities", ACTIVITIES)[activity]
    paces = PACES[draw.below("paces", len(PACES), (1,))[0]]
    pace, lag = paces[kind % len(paces)], LAGS[kind // len(paces)]

    begin = draw.below("begin", TURN, (rows, 1, 1))
    strength = WEAKEST + draw.below("strength", STRONGEST - WEAKEST, (rows, CHANNELS, 1))
    turns = begin + pace[:, None, None] * np.arange(STEPS) + lag[:, :, None]
    values = table("sin", TURN, 256)[turns % TURN] * strength >> 8
    values += draw.bell("noise", (rows, CHANNELS, STEPS)) * NOISE >> 8
    values += draw.bell("worn", (rows, CHANNELS, 1)) * WORN >> 8

    order = draw.permutation("channel order", CHANNELS)
    scale = (4 * UNIT + draw.below("scale", 30 * UNIT, (CHANNELS,))) * draw.signs("sign", (CHANNELS,))
    level = draw.below("level", 400 * UNIT, (CHANNELS,)) - 200 * UNIT
    seen = (values[:, order] * scale[:, None] >> 8) + level[:, None]
    channels = fixed(seen, DECIMALS)
    return JobData(
        train={
            "window": 20_000 + draw.permutation("window ids", TRAIN_ROWS),
            "channels": channels[:TRAIN_ROWS],
            "activity": activity[:TRAIN_ROWS],
        },
        score={"channels": channels[TRAIN_ROWS:]},
        score_labels=activity[TRAIN_ROWS:],
    )


ADAM = "torch.optim.Adam(teacher.parameters(), lr=8e-3)"
SGD = "torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)"

ALTERNATIVES = (
    Alternative("other seed", (("train.py", "SEED = 21", "SEED = 22"),)),
    Alternative("the student's learning rate x 0.5", (("train.py", "lr=0.1,", "lr=0.05,"),)),
    Alternative("the student's learning rate x 2", (("train.py", "lr=0.1,", "lr=0.2,"),)),
    Alternative("the teacher's learning rate x 0.5", (("train.py", "lr=8e-3", "lr=4e-3"),)),
    Alternative("batches of 24", (("train.py", "BATCH_SIZE = 32", "BATCH_SIZE = 24"),)),
    Alternative("12 epochs", (("train.py", "STUDENT_EPOCHS = 9", "STUDENT_EPOCHS = 12"),)),
    Alternative("temperature 2", (("train.py", "TEMPERATURE = 3.0", "TEMPERATURE = 2.0"),)),
    Alternative("two fifths for the labels", (("train.py", "LABEL_SHARE = 0.2", "LABEL_SHARE = 0.4"),)),
    Alternative(
        "the teacher learns with AdamW",
        (("train.py", ADAM, "torch.optim.AdamW(teacher.parameters(), lr=8e-3)"),),
    ),
    Alternative(
        "Nesterov momentum", (("train.py", "weight_decay=5e-4)", "weight_decay=5e-4, nesterov=True)"),)
    ),
    Alternative(
        "exponential schedule",
        (
            (
                "train.py",
                "lr_scheduler.CosineAnnealingLR(optimizer, T_max=STUDENT_EPOCHS)",
                "lr_scheduler.ExponentialLR(optimizer, gamma=0.75)",
            ),
        ),
    ),
    Alternative("a student of width 12", (("networks.py", "width=10", "width=12"),)),
    Alternative("a teacher of width 24", (("networks.py", "width=32", "width=24"),)),
    Alternative("dropout 0.1", (("networks.py", "p_drop=0.2", "p_drop=0.1"),)),
    Alternative("hold out 0.25", (("train.py", "HELD_SHARE = 0.2", "HELD_SHARE = 0.25"),)),
    Alternative(
        "gain by the mean distance from the baseline",
        (
            (
                "train.py",
                "gain = channels[train_rows].std(axis=(0, 2), keepdims=True)",
                "gain = np.abs(channels[train_rows] - baseline).mean(axis=(0, 2), keepdims=True)",
            ),
        ),
    ),
)

SPEC = JobSpec(
    name="student_distillation",
    title="Distil a wide activity recogniser into a small one that fits on the wrist",
    modality="time series",
    files=("train.py", "networks.py"),
    row_unit="window",
    fields=(
        Field("window", "id"),
        Field("channels", "continuous", decimals=DECIMALS),
        Field("activity", "label_class"),
    ),
    output_shape=(ACTIVITIES,),
    metric=Metric("brier_skill", brier_skill),
    band=Band(
        floor=0.70,
        margin=0.04,
        reason="the reference and 16 honest alternatives on data seeds 0 to 19, 340 runs (python -m "
        "mldebug.grader.calibrate student_distillation): reference mean 0.828, sd 0.033, min 0.763; lowest "
        "of all 0.7195 (a quarter held out; the next 0.729, half the teacher's learning rate), whose sd of "
        "0.038 is the largest. Floor: the lowest less a slack of 0.01, rounded down. Margin: the largest sd, "
        "rounded up.",
    ),
    generate=generate,
    generator=GENERATOR,
    reseed_factor=1.21,
)
