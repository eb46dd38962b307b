"""Learn to rank search results from clicks, listwise: softmax over the documents of one search.

data/train.npz: search, query, documents (searches x places x columns), clicked (place of the click, from 0)
data/score.npz: query, documents
Writes metrics.json and predictions.npz, with a score for each document.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ranker import Ranker, reciprocal_rank
from torch import optim

SEED = 11
HELD_OUT = 0.2
SEARCHES_PER_BATCH = 32
EPOCHS = 7
LEARNING_RATE = 0.1


def read(path, *names):
    with np.load(path) as arrays:
        return [arrays[name] for name in names]


def standardize(values, mean, std, device):
    return torch.from_numpy((values - mean) / std).to(device)


def learn(ranker, query, documents, clicked, optimizer):
    """One pass over the searches in a new order; returns their mean loss."""
    ranker.train()
    total = 0.0
    for batch in torch.randperm(len(clicked)).split(SEARCHES_PER_BATCH):
        optimizer.zero_grad()
        scores = ranker(query[batch], documents[batch])
        loss = F.cross_entropy(scores, clicked[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(clicked)


@torch.no_grad()
def score_all(ranker, query, documents):
    ranker.eval()
    return ranker(query, documents)


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    search, query, documents, clicked = read("data/train.npz", "search", "query", "documents", "clicked")
    new_query, new_documents = read("data/score.npz", "query", "documents")

    order = np.random.default_rng(SEED).permutation(len(search))
    n_held = int(HELD_OUT * len(order))
    held_idx, train_idx = order[:n_held], order[n_held:]

    query_mean = query[train_idx].mean(axis=0)
    query_std = query[train_idx].std(axis=0)
    doc_mean = documents[train_idx].mean(axis=(0, 1))
    doc_std = documents[train_idx].std(axis=(0, 1))
    train_query = standardize(query[train_idx], query_mean, query_std, device)
    held_query = standardize(query[held_idx], query_mean, query_std, device)
    new_query = standardize(new_query, query_mean, query_std, device)
    train_docs = standardize(documents[train_idx], doc_mean, doc_std, device)
    held_docs = standardize(documents[held_idx], doc_mean, doc_std, device)
    new_docs = standardize(new_documents, doc_mean, doc_std, device)
    train_clicked = torch.from_numpy(clicked[train_idx]).to(device)
    held_clicked = torch.from_numpy(clicked[held_idx]).to(device)

    ranker = Ranker(query.shape[1], documents.shape[2], places=documents.shape[1]).to(device)
    optimizer = optim.SGD(ranker.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    decay = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)
    print(f"{len(train_idx)} searches to learn from, {len(held_idx)} held out, on {device}")

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = learn(ranker, train_query, train_docs, train_clicked, optimizer)
        decay.step()
        held_scores = score_all(ranker, held_query, held_docs)
        held_loss = F.cross_entropy(held_scores, held_clicked).item()
        mrr = reciprocal_rank(held_scores, held_clicked)
        history.append({"epoch": epoch, "train_loss": train_loss, "held_loss": held_loss, "mrr": mrr})
        print(f"epoch {epoch}: loss {train_loss:.4f}, held out {held_loss:.4f}, reciprocal rank {mrr:.3f}")

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
