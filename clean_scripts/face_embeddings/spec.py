"""What the harness knows of `face_embeddings`: its generated thumbnails, its metric and its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import IntArray, Integers, fixed
from ..spec import Band, Field, JobData, JobSpec, Metric, neighbour_skill

GENERATOR = "face-thumbnails-1"
TRAIN_ROWS = 1000
SCORE_ROWS = 2000
SIDE = 6
PIXELS = SIDE * SIDE
PEOPLE = 10

# Faces and lights are rows of a Walsh matrix: patterns of -1 and 1 on 32 of the pixels, all at right angles,
# so that any ten faces are equally alike. FACE and LIGHT are their strengths in 1 / 256 deviations of the
# noise of a pixel. Eight lights of any strength, together far stronger than a face, leave the plain distance
# of two thumbnails saying next to nothing.
CODES = 32
LIGHTS = 8
FACE = 180
LIGHT = 160

# Grey levels are multiples of 1 / 16; what follows is in grey levels.
DECIMALS = 4
UNIT = 1 << DECIMALS
GREY = (90, 160)
CONTRAST = (6, 20)


def walsh(size: int) -> IntArray:
    """The Walsh matrix of a size that is a power of two: -1 and 1, rows at right angles, the first all 1."""
    matrix = np.ones((1, 1), dtype=np.int64)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def generate(seed: int) -> JobData:
    """The data of one seed: train (photo, thumbnail, person), score (thumbnail); thumbnails (rows, 6, 6).

    The seed decides which patterns are faces and which are lights, which pixels show them and how bright and
    rich in contrast each pixel is. Within a seed photographs differ in light and noise.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    codes = np.zeros((CODES, PIXELS), dtype=np.int64)
    codes[:, draw.permutation("pixels", PIXELS)[:CODES]] = walsh(CODES)
    codes = codes[1 + draw.permutation("codes", CODES - 1)]
    faces, lights = codes[:PEOPLE], codes[PEOPLE : PEOPLE + LIGHTS]

    person = draw.below("person", PEOPLE, (rows,))
    values = draw.bell("noise", (rows, PIXELS))
    values += faces[person] * FACE
    values += draw.bell("light", (rows, LIGHTS)) @ lights * LIGHT >> 8

    low, high = CONTRAST
    contrast = low * UNIT + draw.below("contrast", (high - low) * UNIT, (PIXELS,))
    low, high = GREY
    grey = low * UNIT + draw.below("grey", (high - low) * UNIT, (PIXELS,))
    thumbnail = fixed((values * contrast >> 8) + grey, DECIMALS).reshape(rows, SIDE, SIDE)
    return JobData(
        train={
            "photo": 40_000 + draw.permutation("row ids", TRAIN_ROWS),
            "thumbnail": thumbnail[:TRAIN_ROWS],
            "person": person[:TRAIN_ROWS],
        },
        score={"thumbnail": thumbnail[TRAIN_ROWS:]},
        score_labels=person[TRAIN_ROWS:],
    )


ADAMW = "torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)"

ALTERNATIVES = (
    Alternative("other seed", (("train.py", "RANDOM_STATE = 3", "RANDOM_STATE = 4"),)),
    Alternative("learning rate x 0.5", (("train.py", "lr=8e-3", "lr=4e-3"),)),
    Alternative("learning rate x 2", (("train.py", "lr=8e-3", "lr=16e-3"),)),
    Alternative("three images a person", (("train.py", "IMAGES_PER_PERSON = 4", "IMAGES_PER_PERSON = 3"),)),
    Alternative("five images a person", (("train.py", "IMAGES_PER_PERSON = 4", "IMAGES_PER_PERSON = 5"),)),
    Alternative("eight people a batch", (("train.py", "PEOPLE_PER_BATCH = 10", "PEOPLE_PER_BATCH = 8"),)),
    Alternative("16 epochs", (("train.py", "EPOCHS = 12", "EPOCHS = 16"),)),
    Alternative("constant learning rate", (("train.py", "        decay.step()\n", ""),)),
    Alternative(
        "cosine schedule",
        (
            (
                "train.py",
                "PolynomialLR(optimizer, total_iters=EPOCHS, power=1.0)",
                "CosineAnnealingLR(optimizer, EPOCHS)",
            ),
        ),
    ),
    Alternative("Adam", (("train.py", ADAMW, "torch.optim.Adam(groups, lr=lr)"),)),
    Alternative("NAdam", (("train.py", ADAMW, "torch.optim.NAdam(groups, lr=lr)"),)),
    Alternative("RMSprop", (("train.py", ADAMW, "torch.optim.RMSprop(groups, lr=3e-3)"),)),
    Alternative("layer norm", (("network.py", "nn.BatchNorm1d(n_out)", "nn.LayerNorm(n_out)"),)),
    Alternative("width 40", (("network.py", "hidden=48", "hidden=40"),)),
    Alternative("width 64", (("network.py", "hidden=48", "hidden=64"),)),
    Alternative("no dropout", (("network.py", "p_drop=0.1", "p_drop=0.0"),)),
    Alternative("dropout 0.15", (("network.py", "p_drop=0.1", "p_drop=0.15"),)),
    Alternative("a scale that is not learned", (("train.py", "scale_lr=2e-2", "scale_lr=0.0"),)),
    Alternative("hold out a tenth", (("train.py", "cut = len(x) // 5", "cut = len(x) // 10"),)),
    Alternative("hold out a quarter", (("train.py", "cut = len(x) // 5", "cut = len(x) // 4"),)),
    Alternative(
        "range -1 to 1 of the training photographs",
        (
            ("train.py", "mean = x_fit.mean(dim=0)", "mean = (x_fit.amin(dim=0) + x_fit.amax(dim=0)) / 2"),
            ("train.py", "std = x_fit.std(dim=0)", "std = x_fit.amax(dim=0) - mean"),
        ),
    ),
)

SPEC = JobSpec(
    name="face_embeddings",
    title="Embed thumbnails of faces so that those of one person lie together",
    modality="metric learning",
    files=("train.py", "network.py"),
    row_unit="photo",
    fields=(
        Field("photo", "id"),
        Field("thumbnail", "continuous", decimals=DECIMALS),
        Field("person", "label_class", classes=PEOPLE),
    ),
    output_shape=(8,),
    metric=Metric("neighbour_skill", neighbour_skill),
    band=Band(floor=0.6, margin=0.04, reason="not measured yet"),
    generate=generate,
    generator=GENERATOR,
)
