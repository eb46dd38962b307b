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
    Alternative("learning rate x 0.5", (("train.py", "learning_rate = 8e-2", "learning_rate = 4e-2"),)),
    Alternative("learning rate x 2", (("train.py", "learning_rate = 8e-2", "learning_rate = 1.6e-1"),)),
    Alternative("batches of 32", (("train.py", "batch_size = 48", "batch_size = 32"),)),
    Alternative("batches of 96", (("train.py", "batch_size = 48", "batch_size = 96"),)),
    Alternative("350 steps", (("train.py", "max_iters = 225", "max_iters = 350"),)),
    Alternative(
        "half the rate, constant after the warm-up",
        (
            ("train.py", "learning_rate = 8e-2", "learning_rate = 4e-2"),
            ("train.py", "min_share = 0.1 ", "min_share = 1.0 "),
        ),
    ),
    Alternative("no warm-up", (("train.py", "warmup_iters = 15", "warmup_iters = 1"),)),
    Alternative("clipping at 1", (("train.py", "grad_clip = 5.0", "grad_clip = 1.0"),)),
    Alternative(
        "no momentum, five times the rate",
        (
            ("train.py", "momentum = 0.9", "momentum = 0.0"),
            ("train.py", "learning_rate = 8e-2", "learning_rate = 4e-1"),
        ),
    ),
    Alternative(
        "layer norm",
        (
            ("train.py", "self.bn_in = nn.BatchNorm1d(n_hidden)", "self.bn_in = nn.LayerNorm(n_hidden)"),
            ("train.py", "self.bn_mid = nn.BatchNorm1d(n_hidden)", "self.bn_mid = nn.LayerNorm(n_hidden)"),
        ),
    ),
    Alternative("width 24", (("train.py", "n_hidden = 40", "n_hidden = 24"),)),
    Alternative("width 64", (("train.py", "n_hidden = 40", "n_hidden = 64"),)),
    Alternative("dropout 0.2", (("train.py", "dropout = 0.1", "dropout = 0.2"),)),
    Alternative("test on 0.3", (("train.py", "test_part = 0.2", "test_part = 0.3"),)),
    Alternative("validate on 0.25", (("train.py", "val_part = 0.15", "val_part = 0.25"),)),
    Alternative(
        "AdamW",
        (
            ("train.py", "optimizer = torch.optim.SGD(", "optimizer = torch.optim.AdamW("),
            ("train.py", "lr=learning_rate, momentum=momentum, ", "lr=learning_rate, "),
            ("train.py", "learning_rate = 8e-2", "learning_rate = 1e-2"),
        ),
    ),
    Alternative(
        "median and middle half of the training rows",
        (
            (
                "train.py",
                "observed[train_ids].mean(axis=(0, 1))",
                "np.median(observed[train_ids], axis=(0, 1))",
            ),
            (
                "train.py",
                "std = observed[train_ids].std(axis=(0, 1))",
                "low, high = np.quantile(observed[train_ids], (0.25, 0.75), axis=(0, 1)).astype(np.float32)\n"
                "std = (high - low) / 1.35",
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
    band=Band(floor=0.57, margin=0.04, reason="to be measured 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"),
    generate=generate,
    generator=GENERATOR,
)
