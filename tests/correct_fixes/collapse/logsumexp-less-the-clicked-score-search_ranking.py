# task: collapse-search_ranking-2
# mechanism: logsumexp-less-the-clicked-score
# about: Scores stay raw; the loss is written out as logsumexp minus the score of the clicked document,
# about: in a rewrite around a dataclass of searches, AdamW with cosine over steps, and command-line options.

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ranker import Ranker, listwise_loss, reciprocal_rank
from torch import Tensor, optim

@dataclass
class Searches:
    query: np.ndarray
    documents: np.ndarray

    def rows(self, indices: np.ndarray) -> Searches:
        return Searches(self.query[indices], self.documents[indices])

class Standardizer:
    """Means and deviations of the searches it is made from."""

    def __init__(self, known: Searches) -> None:
        self.query = known.query.mean(axis=0), known.query.std(axis=0)
        self.documents = known.documents.mean(axis=(0, 1)), known.documents.std(axis=(0, 1))

    def __call__(self, searches: Searches, device: torch.device) -> tuple[Tensor, Tensor]:
        return tuple(
            torch.from_numpy((values - mu) / sigma).to(device)
            for values, (mu, sigma) in ((searches.query, self.query), (searches.documents, self.documents))
        )

def options(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--held", type=float, default=0.2)
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--lr", type=float, default=0.02)
    return parser.parse_args(argv)

def evaluate(ranker: Ranker, query: Tensor, documents: Tensor) -> Tensor:
    ranker.eval()
    with torch.inference_mode():
        return ranker(query, documents)

def run(opt: argparse.Namespace) -> None:
    torch.manual_seed(opt.seed)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load(opt.data / "train.npz") as known:
        search, clicked = known["search"], known["clicked"]
        searches = Searches(known["query"], known["documents"])
    with np.load(opt.data / "score.npz") as new:
        new_searches = Searches(new["query"], new["documents"])

    row_order = np.random.default_rng(opt.seed).permutation(len(search))
    held, train = np.split(row_order, [int(opt.held * len(row_order))])
    standardize = Standardizer(searches.rows(train))
    train_query, train_docs = standardize(searches.rows(train), dev)
    held_query, held_docs = standardize(searches.rows(held), dev)
    train_clicked = torch.from_numpy(clicked[train]).to(dev)
    held_clicked = torch.from_numpy(clicked[held]).to(dev)

    ranker = Ranker(train_query.shape[1], train_docs.shape[2], places=train_docs.shape[1]).to(dev)
    optimizer = optim.AdamW(ranker.parameters(), lr=opt.lr, weight_decay=1e-3)
    steps = -(-len(train) // opt.chunk) * opt.epochs
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    print(f"{len(train)} searches to learn from, {len(held)} held out, on {dev}")

    history = []
    for epoch in range(1, opt.epochs + 1):
        ranker.train()
        total = 0.0
        for part in torch.randperm(len(train), device=dev).split(opt.chunk):
            loss = listwise_loss(ranker(train_query[part], train_docs[part]), train_clicked[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(part)
        held_scores = evaluate(ranker, held_query, held_docs)
        entry = {
            "epoch": epoch,
            "train_loss": total / len(train),
            "held_loss": listwise_loss(held_scores, held_clicked).item(),
            "mrr": reciprocal_rank(held_scores, held_clicked),
        }
        history.append(entry)
        print("pass {epoch}: loss {train_loss:.3f}, held out {held_loss:.3f}, reciprocal rank {mrr:.2f}".format(**entry))

    final = {name: entry[name] for name in ("train_loss", "held_loss", "mrr")}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=search[held],
        output=held_scores.cpu().numpy(),
        score=evaluate(ranker, *standardize(new_searches, dev)).cpu().numpy(),
    )

if __name__ == "__main__":
    run(options())
# === file: ranker.py ===
from __future__ import annotations

import torch
from torch import Tensor, nn

def reciprocal_rank(scores: Tensor, clicked: Tensor) -> float:
    own = scores.gather(1, clicked.unsqueeze(1))
    return (1.0 / (scores >= own).sum(dim=1)).mean().item()

def listwise_loss(scores: Tensor, clicked: Tensor) -> Tensor:
    """Minus log-likelihood of the click, if clicks follow the softmax of the raw scores."""
    own = scores.gather(1, clicked.unsqueeze(1)).squeeze(1)
    return (torch.logsumexp(scores, dim=1) - own).mean()

class Ranker(nn.Module):
    """Raw scores, one for each place of a page."""

    def __init__(self, query_columns: int, document_columns: int, places: int, base: int = 32, drop: float = 0.2):
        super().__init__()
        self.place_bias = nn.Parameter(torch.zeros(places))
        self.query_side = nn.Linear(query_columns, base)
        self.document_side = nn.Linear(document_columns, base)
        self.mid = nn.Linear(2 * base, base)
        self.bn = nn.BatchNorm1d(base)
        self.dropout = nn.Dropout(p=drop)
        self.scoring = nn.Linear(base, 1)

    def forward(self, query: Tensor, documents: Tensor) -> Tensor:
        q = self.query_side(query).unsqueeze(1)
        d = self.document_side(documents)
        feats = self.mid(torch.cat([q * d, d], 2))
        feats = self.bn(feats.transpose(1, 2)).transpose(1, 2)
        return self.scoring(self.dropout(feats.relu())).squeeze(2) + self.place_bias
