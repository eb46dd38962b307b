"""Guess the language of a word.  No classes were harmed."""
import zlib
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

CONFIG = {
    "seed": 31,
    "data": {"file": "words.tsv", "buckets": 512, "ngrams": (1, 2, 3), "val": 0.15, "test": 0.15},
    "model": {"dim": 24, "hidden": 32, "dropout": 0.3},
    "optim": {"lr": 0.004, "weight_decay": 1e-2},
    "train": {"epochs": 5, "micro_batch": 16, "accumulate": 4, "max_norm": 1.0},
}


def hash_ngrams(word, buckets, ngrams):
    w = f"<{word}>"
    grams = [w[i:i + n] for n in ngrams for i in range(len(w) - n + 1)]
    return [zlib.crc32(g.encode()) % buckets for g in grams]


def load(cfg, rng):
    lines = (Path(__file__).parent / cfg["file"]).read_text().splitlines()
    pairs = [line.split("\t") for line in lines]
    langs = sorted({lang for _, lang in pairs})
    rows = [(hash_ngrams(w, cfg["buckets"], cfg["ngrams"]), langs.index(lang)) for w, lang in pairs]
    order = torch.randperm(len(rows), generator=rng).tolist()
    rows = [rows[i] for i in order]
    n_val, n_test = int(cfg["val"] * len(rows)), int(cfg["test"] * len(rows))
    return rows[n_val + n_test:], rows[:n_val], rows[n_val:n_val + n_test], langs


def collate(rows):
    flat = torch.tensor([g for grams, _ in rows for g in grams])
    lengths = torch.tensor([0] + [len(grams) for grams, _ in rows[:-1]])
    return flat, lengths.cumsum(0), torch.tensor([label for _, label in rows])


def batches(rows, size, rng=None):
    order = torch.randperm(len(rows), generator=rng).tolist() if rng is not None else range(len(rows))
    rows = [rows[i] for i in order]
    return [rows[i:i + size] for i in range(0, len(rows), size)]


def make_forward(cfg, buckets, n_classes):
    """Returns the parameters, and a function that maps a batch to logits."""
    emb = torch.randn(buckets, cfg["dim"]) * 0.1
    w1 = torch.empty(cfg["hidden"], cfg["dim"])
    w2 = torch.empty(n_classes, cfg["hidden"])
    nn.init.kaiming_uniform_(w1, nonlinearity="relu")
    nn.init.xavier_uniform_(w2)
    params = {
        "emb": emb, "w1": w1, "b1": torch.zeros(cfg["hidden"]),
        "w2": w2, "b2": torch.zeros(n_classes),
    }
    params = {k: v.requires_grad_() for k, v in params.items()}

    def forward(flat, offsets, train):
        drop = partial(F.dropout, p=cfg["dropout"], training=train)
        h = F.embedding_bag(flat, params["emb"], offsets, mode="mean")
        h = F.layer_norm(h, (cfg["dim"],))
        h = drop(F.relu(F.linear(drop(h), params["w1"], params["b1"])))
        return F.linear(h, params["w2"], params["b2"])

    return params, forward


def make_step(cfg, params, forward, optimizer):
    leaves = list(params.values())

    def step(micro_batches):
        # mean over the whole group, also when the last micro-batch is short
        n = sum(len(m) for m in micro_batches)
        total = 0.0
        for p in leaves:
            p.grad = None
        for m in micro_batches:
            flat, offsets, labels = collate(m)
            loss = F.cross_entropy(forward(flat, offsets, train=True), labels, reduction="sum") / n
            loss.backward()
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(leaves, cfg["max_norm"])
        optimizer.step()
        return total * n, n, float(norm)

    return step


def make_evaluate(forward):
    @torch.no_grad()
    def evaluate(rows):
        loss, hits = 0.0, 0
        for b in batches(rows, 128):
            flat, offsets, labels = collate(b)
            logits = forward(flat, offsets, train=False)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            hits += (logits.argmax(1) == labels).sum().item()
        return {"loss": loss / len(rows), "acc": hits / len(rows)}

    return evaluate


def run(cfg):
    torch.manual_seed(cfg["seed"])
    rng = torch.Generator().manual_seed(cfg["seed"])
    train, val, test, langs = load(cfg["data"], rng)
    params, forward = make_forward(cfg["model"], cfg["data"]["buckets"], len(langs))
    optimizer = torch.optim.AdamW(params.values(), **cfg["optim"])
    step = make_step(cfg["train"], params, forward, optimizer)
    evaluate = make_evaluate(forward)
    k = cfg["train"]["accumulate"]
    for epoch in range(cfg["train"]["epochs"]):
        micro = batches(train, cfg["train"]["micro_batch"], rng)
        results = [step(micro[i:i + k]) for i in range(0, len(micro), k)]
        v = evaluate(val)
        print({
            "epoch": epoch,
            "train": round(sum(r[0] for r in results) / sum(r[1] for r in results), 5),
            "val": round(v["loss"], 5),
            "acc": round(v["acc"], 4),
            "max_norm": round(max(r[2] for r in results), 3),
        })
    return evaluate(test)


if __name__ == "__main__":
    print("test", run(CONFIG))
