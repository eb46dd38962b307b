"""What the harness knows of `logged_policy`: an expert's logged decisions, its metric and its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import Integers, fixed
from ..spec import Band, Field, JobData, JobSpec, Metric, brier_skill

GENERATOR = "logged-decisions-1"
TRAIN_ROWS = 1500
SCORE_ROWS = 4000
STEPS = 3
SENSORS = 5
ACTIONS = 4

# A cart on a rail, with a load that swings from it. In units of 1 / 256: how far from the middle position,
# angle and slope lie on either side, how fast the first two move in a step, how unsteadily, and how far off a
# sensor is.
AWAY = 384
SPEED = 128
WOBBLE = 32
READING = 40

BLUNDERS = 10
"""Out of 256 decisions how many the expert takes at random."""

DECIMALS = 8
UNITS = np.array([1, 2, 3, 5, 9, 15, 26])


def generate(seed: int) -> JobData:
    """The data of one seed: train (decision, observed, action), score (observed); windows (rows, 3, 5).

    Each row is a short episode of its own: a position and an angle move at speeds of their own, a third
    sensor shows the slope of the rail, two show noise. The action is a pair: against the side where the
    position will be two steps later, the other way round where the rail slopes up, and against the side where
    the angle will be. The seed decides which sensor shows what, in which unit and with which sign, and which
    number stands for which action.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    start = draw.bell("start", (rows, 2)) + AWAY * draw.signs("side", (rows, 2))
    speed = draw.bell("speed", (rows, 2)) * SPEED >> 8
    time = np.arange(STEPS)[None, :, None]
    path = start[:, None, :] + speed[:, None, :] * time
    path = path + (draw.bell("wobble", (rows, STEPS, 2)) * WOBBLE >> 8)
    slope = (draw.bell("slope", (rows,)) >> 1) + AWAY * draw.signs("up or down", (rows,))
    ahead = path[:, -1] + 2 * speed

    sensors = draw.bell("sensors", (rows, STEPS, SENSORS))
    sensors[:, :, :3] = sensors[:, :, :3] * READING >> 8
    sensors[:, :, :2] += path
    sensors[:, :, 2] += slope[:, None]

    right, over = ahead[:, 0] > 0, ahead[:, 1] > 0
    action = 2 * (right != (slope > 0)) + over
    action = np.where(
        draw.bits("blunder", (rows,), width=8) < BLUNDERS, draw.below("random", ACTIONS, (rows,)), action
    )
    action = draw.permutation("action order", ACTIONS)[action]
    units = UNITS[draw.below("unit", len(UNITS), (SENSORS,))] * draw.signs("sign", (SENSORS,))
    offsets = draw.below("offset", 4096, (SENSORS,)) - 2048
    observed = fixed((sensors[:, :, draw.permutation("sensor order", SENSORS)] + offsets) * units, DECIMALS)
    return JobData(
        train={
            "decision": 70_000 + draw.permutation("decisions", TRAIN_ROWS),
            "observed": observed[:TRAIN_ROWS],
            "action": action[:TRAIN_ROWS],
        },
        score={"observed": observed[TRAIN_ROWS:]},
        score_labels=action[TRAIN_ROWS:],
    )


ALTERNATIVES = (
    Alternative("other seed", (("train.py", "seed = 42", "seed = 43"),)),
    Alternative("learning rate x 0.5", (("train.py", "peak=8e-2", "peak=4e-2"),)),
    Alternative("learning rate x 2", (("train.py", "peak=8e-2", "peak=1.6e-1"),)),
    Alternative("batches of 32", (("train.py", "batch=48", "batch=32"),)),
    Alternative("batches of 96", (("train.py", "batch=48", "batch=96"),)),
    Alternative("350 steps", (("train.py", "steps=225", "steps=350"),)),
    Alternative(
        "half the rate, constant after the warm-up",
        (
            ("train.py", "peak=8e-2", "peak=4e-2"),
            ("train.py", "lowest=0.1", "lowest=1.0"),
        ),
    ),
    Alternative("no warm-up", (("train.py", "warmup=15", "warmup=1"),)),
    Alternative("clipping at 1", (("train.py", "clip=5.0", "clip=1.0"),)),
    Alternative(
        "no momentum, five times the rate",
        (
            ("train.py", "momentum=0.9", "momentum=0.0"),
            ("train.py", "peak=8e-2", "peak=4e-1"),
        ),
    ),
    Alternative(
        "layer norm",
        (
            (
                "train.py",
                "inputs, hidden),\n        nn.BatchNorm1d",
                "inputs, hidden),\n        nn.LayerNorm",
            ),
            (
                "train.py",
                "hidden, hidden),\n        nn.BatchNorm1d",
                "hidden, hidden),\n        nn.LayerNorm",
            ),
        ),
    ),
    Alternative("width 24", (("train.py", "hidden=40", "hidden=24"),)),
    Alternative("width 64", (("train.py", "hidden=40", "hidden=64"),)),
    Alternative("dropout 0.2", (("train.py", "dropout=0.1", "dropout=0.2"),)),
    Alternative("test on 0.3", (("train.py", "test=0.2", "test=0.3"),)),
    Alternative("validate on 0.25", (("train.py", "val=0.15", "val=0.25"),)),
    Alternative(
        "AdamW",
        (
            ("train.py", "torch.optim.SGD(", "torch.optim.AdamW("),
            ("train.py", "lr=peak, momentum=0.9, ", "lr=peak, "),
            ("train.py", "peak=8e-2", "peak=1e-2"),
        ),
    ),
    Alternative(
        "median and middle half of the training rows",
        (
            (
                "train.py",
                "observed[train].mean(axis=(0, 1))",
                "np.median(observed[train], axis=(0, 1))",
            ),
            (
                "train.py",
                "std = observed[train].std(axis=(0, 1))",
                "low, high = np.quantile(observed[train], (0.25, 0.75), axis=(0, 1)).astype(np.float32)\n"
                "    std = (high - low) / 1.35",
            ),
        ),
    ),
)

SPEC = JobSpec(
    name="logged_policy",
    title="Clone an expert's choice of action from logged decisions",
    modality="decisions",
    files=("train.py",),
    row_unit="decision",
    fields=(
        Field("decision", "id"),
        Field("observed", "continuous", decimals=DECIMALS),
        Field("action", "label_class"),
    ),
    output_shape=(ACTIONS,),
    metric=Metric("brier_skill", brier_skill),
    band=Band(
        floor=0.60,
        margin=0.03,
        reason="the reference and 18 honest alternatives on data seeds 0 to 19, 380 runs (python -m "
        "mldebug.grader.calibrate logged_policy): reference mean 0.684, sd 0.016, min 0.648; lowest of all "
        "0.611 (half the rate, constant after the warm-up; the next 0.634, batches of 32); largest sd 0.024. "
        "Floor: the lowest less a slack of 0.01, rounded down. Margin: ten times the machine noise of 0.003. "
        "On seeds 0 to 2 the nearest bugs reach 0.361 (probabilities for logits) and 0.113 (a hundred times "
        "the learning rate); a thousandth of it 0.027, gradients that are not zeroed -0.21.",
    ),
    generate=generate,
    generator=GENERATOR,
    reseed_factor=1.18,
)
