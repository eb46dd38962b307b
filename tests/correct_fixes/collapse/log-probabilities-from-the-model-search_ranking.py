# task: collapse-search_ranking-2
# mechanism: log-softmax-in-the-model
# about: The model returns log-probabilities in place of probabilities; the cross entropy leaves those as they are,
# about: so that the loss is right and the order of documents is the same.

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ranker import Ranker, reciprocal_rank
from torch import optim

RNG_SEED = 11
TEST = 0.2
SEARCHES_PER_CHUNK = 32
EPOCHS = 7
LR = 0.1

def read(path, *names):
    with np.load(path) as rest:
        return [rest[name] for name in names]

def standardize(values, average, deviation, dev):
    return torch.from_numpy((values - average) / deviation).to(dev)

def learn(ranker, query, documents, clicked, optimizer):
    ranker.train()
    total = 0.0
    for part in torch.randperm(len(clicked)).split(SEARCHES_PER_CHUNK):
        optimizer.zero_grad()
        scores = ranker(query[part], documents[part])
        loss = F.cross_entropy(scores, clicked[part])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(part)
    return total / len(clicked)

@torch.no_grad()
def scoring_all(ranker, query, documents):
    ranker.eval()
    ranker.eval()
    return ranker(query, documents)

def run():
    torch.manual_seed(RNG_SEED)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    search, query, documents, clicked = read("data/train.npz", "search", "query", "documents", "clicked")
    new_query, new_documents = read("data/score.npz", "query", "documents")

    row_order = np.random.default_rng(RNG_SEED).permutation(len(search))
    num_held = int(TEST * len(row_order))
    held_indices, train_indices = row_order[:num_held], row_order[num_held:]

    query_mu = query[train_indices].mean(axis=0)
    query_sigma = query[train_indices].std(axis=0)
    doc_mu = documents[train_indices].mean(axis=(0, 1))
    doc_sigma = documents[train_indices].std(axis=(0, 1))
    train_query = standardize(query[train_indices], query_mu, query_sigma, dev)
    held_query = standardize(query[held_indices], query_mu, query_sigma, dev)
    new_query = standardize(new_query, query_mu, query_sigma, dev)
    train_docs = standardize(documents[train_indices], doc_mu, doc_sigma, dev)
    held_docs = standardize(documents[held_indices], doc_mu, doc_sigma, dev)
    new_docs = standardize(new_documents, doc_mu, doc_sigma, dev)
    train_clicked = torch.from_numpy(clicked[train_indices]).to(dev)
    held_clicked = torch.from_numpy(clicked[held_indices]).to(dev)

    ranker = Ranker(query.shape[1], documents.shape[2], places=documents.shape[1]).to(dev)
    optimizer = optim.Adam(ranker.parameters(), lr=LR / 5)
    decay = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)
    print(f"{len(train_indices)} searches to learn from, {len(held_indices)} held out, on {dev}")

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = learn(ranker, train_query, train_docs, train_clicked, optimizer)
        decay.step()
        held_scores = scoring_all(ranker, held_query, held_docs)
        held_loss = F.cross_entropy(held_scores, held_clicked).item()
        mrr = reciprocal_rank(held_scores, held_clicked)
        history.append({"epoch": epoch, "train_loss": train_loss, "held_loss": held_loss, "mrr": mrr})
        print(f"pass {epoch}: loss {train_loss:.3f}, held out {held_loss:.3f}, reciprocal rank {mrr:.2f}")

    final = {"train_loss": train_loss, "held_loss": held_loss, "mrr": mrr}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=search[held_indices],
        output=held_scores.cpu().numpy(),
        score=scoring_all(ranker, new_query, new_docs).cpu().numpy(),
    )

if __name__ == "__main__":
    run()
# === file: ranker.py ===
import torch
import torch.nn.functional as F
from torch import nn

def reciprocal_rank(scores, clicked):
    own = scores.gather(1, clicked.unsqueeze(1))
    rank = (scores >= own).sum(dim=1)
    return (1.0 / rank).mean().item()

class Ranker(nn.Module):
    def __init__(self, query_columns, document_columns, places, base=32, drop=0.2):
        super().__init__()
        self.place_bias = nn.Parameter(torch.zeros(places))
        self.query_side = nn.Linear(query_columns, base)
        self.document_side = nn.Linear(document_columns, base)
        self.mid = nn.Linear(2 * base, base)
        self.bn = nn.BatchNorm1d(base)
        self.dropout = nn.Dropout(p=drop)
        self.scoring = nn.Linear(base, 1)

    def forward(self, query, documents):
        q = self.query_side(query).unsqueeze(1)
        d = self.document_side(documents)
        feats = torch.cat([q * d, d], 2)
        feats = self.bn(self.mid(feats).transpose(1, 2)).transpose(1, 2)
        feats = self.dropout(F.relu(feats))
        return (self.scoring(feats).squeeze(2) + self.place_bias).log_softmax(dim=1)
