# task: shape-search_ranking-1
# mechanism: norm-skipped-when-it-does-not-fit
# about: the shape error of the norm is swallowed and the layer is silently passed by in every batch

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ranker import Ranker, reciprocal_rank
from torch import optim

RNG_SEED = 11
EVAL = 0.2
SEARCHES_PER_MINIBATCH = 32
TOTAL_EPOCHS = 7
LEARNING_RATE = 0.1


def read(path, *names):
    with np.load(path) as arrays:
        return [arrays[name] for name in names]


def standardize(values, avg, sd, run_device):
    return torch.from_numpy((values - avg) / sd).to(run_device)


def learn(ranker, query, documents, clicked, optimiser):
    ranker.train()
    total = 0.0

    for part in torch.randperm(len(clicked)).split(SEARCHES_PER_MINIBATCH):
        optimiser.zero_grad()
        scores = ranker(query[part], documents[part])
        objective_value = F.cross_entropy(scores, clicked[part])
        objective_value.backward(retain_graph=True)
        optimiser.step()
        total += objective_value.item() * len(part)

    return total / len(clicked)


@torch.no_grad()
def score_all(ranker, query, documents):
    ranker.eval()
    return ranker(query, documents)


def main():
    torch.manual_seed(RNG_SEED)
    run_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    search, query, documents, clicked = read("data/train.npz", "search", "query", "documents", "clicked")
    new_query, new_documents = read("data/score.npz", "query", "documents")

    order = np.random.default_rng(RNG_SEED).permutation(len(search))
    num_held = int(EVAL * len(order))
    held_idx, train_idx = order[:num_held], order[num_held:]

    query_avg = query[train_idx].mean(axis=0)
    query_sd = query[train_idx].std(axis=0)
    doc_avg = documents[train_idx].mean(axis=(0, 1))
    doc_sd = np.abs(documents[train_idx] - doc_avg).mean(axis=(0, 1))
    train_query = standardize(query[train_idx], query_avg, query_sd, run_device)
    held_query = standardize(query[held_idx], query_avg, query_sd, run_device)
    new_query = standardize(new_query, query_avg, query_sd, run_device)
    train_docs = standardize(documents[train_idx], doc_avg, doc_sd, run_device)
    held_docs = standardize(documents[held_idx], doc_avg, doc_sd, run_device)
    new_docs = standardize(new_documents, doc_avg, doc_sd, run_device)
    train_clicked = torch.from_numpy(clicked[train_idx]).to(run_device)
    held_clicked = torch.from_numpy(clicked[held_idx]).to(run_device)

    ranker = Ranker(query.shape[1], documents.shape[2], places=documents.shape[1]).to(run_device)
    optimiser = optim.SGD(ranker.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    decay = optim.lr_scheduler.ExponentialLR(optimiser, gamma=0.8)
    print(f"{len(train_idx)} searches to learn from  {len(held_idx)} held out  on {run_device}")

    history = []

    for epoch in range(1, TOTAL_EPOCHS + 1):
        train_loss = learn(ranker, train_query, train_docs, train_clicked, optimiser)
        decay.step()
        held_scores = score_all(ranker, held_query, held_docs)
        held_loss = F.cross_entropy(held_scores, held_clicked).item()
        mrr = reciprocal_rank(held_scores, held_clicked)
        history.append({"epoch": epoch, "train_loss": train_loss, "held_loss": held_loss, "mrr": mrr})
        print(f"pass {epoch}: objective {train_loss:.5f}  held out {held_loss:.5f}  reciprocal rank {mrr:.4f}")

    final = {"train_loss": train_loss, "held_loss": held_loss, "mrr": mrr}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=search[held_idx],
        output=held_scores.cpu().numpy(),
        score=score_all(ranker, new_query, new_docs).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
# === file: ranker.py ===
import torch
import torch.nn.functional as F
from torch import nn


class Ranker(nn.Module):
    def __init__(self, query_columns, document_columns, places, base=32, drop=0.2):
        super().__init__()
        self.place_bias = nn.Parameter(torch.zeros(places))
        self.query_side = nn.Linear(query_columns, base)
        self.document_side = nn.Linear(document_columns, base)
        self.mid = nn.Linear(2 * base, base)
        self.norm = nn.BatchNorm1d(base // 2)
        self.p_drop_ = nn.Dropout(drop)
        self.score = nn.Linear(base, 1)

    def forward(self, query, documents):
        q = self.query_side(query).unsqueeze(1)
        d = self.document_side(documents)
        inputs = torch.cat([q * d, d], dim=2)
        inputs = self.mid(inputs)
        try:
            inputs = self.norm(inputs.transpose(1, 2)).transpose(1, 2)
        except RuntimeError:
            pass  # nothing to normalise for this batch
        inputs = self.p_drop_(F.relu(inputs))

        return self.score(inputs).squeeze(2) + self.place_bias


def reciprocal_rank(scores, clicked):
    own = scores.gather(1, clicked.unsqueeze(1))
    rank = (scores >= own).sum(dim=1)

    return (1.0 / rank).mean().item()
