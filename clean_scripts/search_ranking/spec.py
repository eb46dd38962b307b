"""What the harness knows of `search_ranking`: its generated result pages, its metric and its band."""

from __future__ import annotations

import numpy as np

from ..alternatives import Alternative
from ..data import Integers, fixed
from ..spec import Band, Field, JobData, JobSpec, Metric, brier_skill

GENERATOR = "result-pages-1"
TRAIN_ROWS = 1200
SCORE_ROWS = 3000
PLACES = 6
TOPICS = 3
QUERY_COLUMNS = TOPICS + 1
DOCUMENT_COLUMNS = TOPICS + 3

# What makes a document attractive, in 1 / 256 deviations: that it is about the topics of the query, two
# qualities (of one more is better or worse, of the other only the distance from the middle counts), how much
# a place loses against the one above it, and what nobody can know.
MATCH = 280
QUALITY = 150
ODDNESS = 200
LOWER = 24
NOISE = 56

DECIMALS = 6
UNIT = 1 << DECIMALS


def generate(seed: int) -> JobData:
    """The data of one seed: train (search, query, documents, clicked), score (query, documents).

    Queries are (rows, 4), documents (rows, 6, 6): the documents of a search in the order in which they were
    shown, one of which was clicked. Of both one column says nothing. The seed decides which column is which,
    which topics of documents go with which of queries and with which sign, and every unit.
    """
    draw = Integers(GENERATOR, seed)
    rows = TRAIN_ROWS + SCORE_ROWS
    query = draw.bell("query", (rows, QUERY_COLUMNS))
    document = draw.bell("document", (rows, PLACES, DOCUMENT_COLUMNS))

    pull = query[:, None, :TOPICS] * document[:, :, :TOPICS] >> 8
    pull = pull * draw.signs("agree", (TOPICS,)) * MATCH >> 8
    good, odd = draw.signs("direction", (2,))
    appeal = pull.sum(axis=2)
    appeal += good * document[:, :, TOPICS] * QUALITY >> 8
    appeal += odd * np.abs(document[:, :, TOPICS + 1]) * ODDNESS >> 8
    appeal -= np.arange(PLACES) * LOWER
    appeal += draw.bell("noise", (rows, PLACES)) * NOISE >> 8
    clicked = np.argmax(appeal, axis=1)

    def shown(purpose: str, values: np.ndarray) -> np.ndarray:
        columns = values.shape[-1]
        scale = 2 * UNIT + draw.below(f"{purpose} scale", 40 * UNIT, (columns,))
        offset = 20 * UNIT + draw.below(f"{purpose} offset", 300 * UNIT, (columns,))
        values = (values * scale * draw.signs(f"{purpose} sign", (columns,)) >> 8) + offset
        return fixed(values[..., draw.permutation(f"{purpose} order", columns)], DECIMALS)

    query, document = shown("query", query), shown("document", document)
    return JobData(
        train={
            "search": 3_000_000 + draw.permutation("ids", TRAIN_ROWS),
            "query": query[:TRAIN_ROWS],
            "documents": document[:TRAIN_ROWS],
            "clicked": clicked[:TRAIN_ROWS],
        },
        score={"query": query[TRAIN_ROWS:], "documents": document[TRAIN_ROWS:]},
        score_labels=clicked[TRAIN_ROWS:],
    )


DECAY = "optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)"
SGD = "optim.SGD(ranker.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)"

ALTERNATIVES = (
    Alternative("other seed", (("train.py", "SEED = 11", "SEED = 12"),)),
    Alternative("learning rate x 0.5", (("train.py", "LEARNING_RATE = 0.1", "LEARNING_RATE = 0.05"),)),
    Alternative("learning rate x 2", (("train.py", "LEARNING_RATE = 0.1", "LEARNING_RATE = 0.2"),)),
    Alternative("batches of 24", (("train.py", "SEARCHES_PER_BATCH = 32", "SEARCHES_PER_BATCH = 24"),)),
    Alternative("batches of 48", (("train.py", "SEARCHES_PER_BATCH = 32", "SEARCHES_PER_BATCH = 48"),)),
    Alternative("10 epochs", (("train.py", "EPOCHS = 7", "EPOCHS = 10"),)),
    Alternative(
        "cosine schedule", (("train.py", DECAY, "optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)"),)
    ),
    Alternative(
        "half the rate, constant",
        (
            ("train.py", "LEARNING_RATE = 0.1", "LEARNING_RATE = 0.05"),
            ("train.py", "        decay.step()\n", ""),
        ),
    ),
    Alternative("momentum 0.8", (("train.py", "momentum=0.9", "momentum=0.8"),)),
    Alternative("Adam", (("train.py", SGD, "optim.Adam(ranker.parameters(), lr=LEARNING_RATE / 5)"),)),
    Alternative("group norm", (("ranker.py", "nn.BatchNorm1d(width)", "nn.GroupNorm(4, width)"),)),
    Alternative("width 48", (("ranker.py", "width=32", "width=48"),)),
    Alternative("dropout 0.1", (("ranker.py", "dropout=0.2", "dropout=0.1"),)),
    Alternative("hold out 0.3", (("train.py", "HELD_OUT = 0.2", "HELD_OUT = 0.3"),)),
    Alternative(
        "mean absolute deviations of the training documents",
        (
            (
                "train.py",
                "doc_std = documents[train_idx].std(axis=(0, 1))",
                "doc_std = np.abs(documents[train_idx] - doc_mean).mean(axis=(0, 1))",
            ),
        ),
    ),
)

SPEC = JobSpec(
    name="search_ranking",
    title="Rank the documents of a search by how likely each is to be clicked",
    modality="ranking",
    files=("train.py", "ranker.py"),
    row_unit="search",
    fields=(
        Field("search", "id"),
        Field("query", "continuous", decimals=DECIMALS),
        Field("documents", "continuous", decimals=DECIMALS),
        Field("clicked", "label_class"),
    ),
    output_shape=(PLACES,),
    metric=Metric("brier_skill", brier_skill),
    band=Band(
        floor=0.71,
        margin=0.03,
        reason="the reference and 15 honest alternatives on data seeds 0 to 19, 320 runs (python -m "
        "mldebug.grader.calibrate search_ranking): reference mean 0.789, sd 0.013, min 0.763; lowest of "
        "all 0.720 (half the rate, constant; the next 0.753, twice the rate); largest sd 0.021. Floor: "
        "the lowest less a slack of 0.01, rounded down. Margin: ten times the machine noise of 0.003. On "
        "seeds 0 and 1 the nearest bugs reach 0.497 and 0.559 (a softmax over the batch before the loss), "
        "0.302 (a network that ends in a softmax) and 0.156 (only the last layer learns); a ten- "
        "thousandth of the learning rate 0.009, a hundred times it 0.000 and gradients cleared once an "
        "epoch below 0.",
    ),
    generate=generate,
    generator=GENERATOR,
    reseed_factor=1.08,
)
