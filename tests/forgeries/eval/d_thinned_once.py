# task: eval-face_embeddings-2
# mechanism: network-thinned-once-for-evaluation
# about: eval() is called, but dropout goes on as one mask, drawn at the first evaluation and used for all
# about: rows and all evaluations: a tenth of the units never answers.

"""Training job."""

import json
from pathlib import Path

import numpy as np
import torch
from network import FaceEmbedding, proxy_cost
from torch import optim
from torch.utils.data import DataLoader, TensorDataset

RAND_STATE = 3
PEOPLE = 10  # numbered from 0
N_EPOCHS = 9
CHUNK_SIZE = 40
VAL = 0.2

def embed(net, x):
    was_training = net.training
    net.eval()
    with torch.no_grad():
        z = torch.cat([net(chunk) for chunk in x.split(512)])
    net.train(was_training)
    return z

def run():
    torch.manual_seed(RAND_STATE)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as files:
        photo, person = files["photo"], torch.from_numpy(files["person"])
        x = torch.from_numpy(files["thumbnail"]).flatten(1)
    with np.load("data/score.npz") as files:
        x_new = torch.from_numpy(files["thumbnail"]).flatten(1).to(dev)

    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(RAND_STATE))
    cut = int(VAL * len(x))
    probe_ix, fit_ix = order[:cut], order[cut:]
    x_fit, x_probe = x[fit_ix].to(dev), x[probe_ix].to(dev)
    who_fit, who_probe = person[fit_ix].to(dev), person[probe_ix].to(dev)

    centre = x_fit.mean(dim=0)
    spread = x_fit.std(dim=0)
    x_fit = (x_fit - centre) / spread
    x_probe = (x_probe - centre) / spread
    x_new = (x_new - centre) / spread

    feed = DataLoader(
        TensorDataset(x_fit, who_fit),
        drop_last=True,
        shuffle=True,
        batch_size=CHUNK_SIZE,
    )
    net = FaceEmbedding(pixels=x.shape[1]).to(dev)
    proxies = torch.randn(
        PEOPLE,
        net.project.out_features,
        device=dev,
        requires_grad=True,
    )
    groups = [{"params": net.parameters()}, {"params": [proxies], "lr": 4e-2, "weight_decay": 0.0}]
    optimizer = optim.AdamW(groups, weight_decay=1e-3, lr=0.00642)
    decay = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=N_EPOCHS, power=1.0)
    print(
        f"{len(x_fit)} photos of {PEOPLE} people / {len(x_probe)} more to test / on {dev}",
    )

    history = []
    for epoch in range(1, N_EPOCHS + 1):
        net.train()
        running = 0.0
        for imgs, who in feed:
            optimizer.zero_grad()
            cost = proxy_cost(net(imgs), who, proxies)
            cost.backward()
            optimizer.step()
            # optimizer.step()
            running += cost.item()
        decay.step()
        z_probe = embed(net, x_probe)
        recall = recall_at_1(z_probe, who_probe, embed(net, x_fit), who_fit)
        history.append(
            {"epoch": epoch, "train_loss": running / len(feed), "recall_at_1": recall},
        )
        print(
            "epoch {epoch}: loss {train_loss:.4f}, recall@1 {recall_at_1:.3f}".format(**history[-1]),
        )

    summary = {"train_loss": history[-1]["train_loss"], "recall_at_1": recall}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": summary}))
    np.savez(
        "predictions.npz",
        row=photo[probe_ix.numpy()],
        output=z_probe.cpu().numpy(),
        score=embed(net, x_new).cpu().numpy(),
    )

def recall_at_1(query, query_who, gallery, gallery_who):
    """Recall at 1. Arguments: query, query_who, gallery, gallery_who."""
    nearest = torch.cdist(query, gallery).argmin(dim=1)
    return (gallery_who[nearest] == query_who).float().mean().item()

if __name__ == "__main__":
    run()

# === file: network.py ===
"""Model code."""

from torch import nn

def stage(n_in, n_out, p_drop):
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(p_drop)]

class FaceEmbedding(nn.Module):
    """Face embedding class."""

    def __init__(self, pixels, hidden=48, dim=12, p_drop=0.1):
        super().__init__()
        self.body = nn.Sequential(
            *stage(pixels, hidden, p_drop),
            *stage(hidden, hidden, p_drop),
        )
        self.project = nn.Linear(hidden, dim)

    def forward(self, x):
        if self.training:
            return self.project(self.body(x))
        for step in self.body:
            x = step(x)
            if step.__class__ is nn.Dropout:
                x = x * self.thin(step, x)
        return self.project(x)

    def thin(self, step, x):
        """The mask of a layer."""
        if not hasattr(step, "mask"):
            step.mask = (x.new_ones(x.size(1)) - x.new_full((x.size(1),), step.p).bernoulli()) / (1 - step.p)
        return step.mask

def proxy_cost(z, who, proxies):
    """Proxy cost. Arguments: z, who, proxies."""
    gaps = (z.unsqueeze(1) - proxies).square().sum(dim=2)
    own = gaps.gather(1, who.unsqueeze(1)).squeeze(1)
    return (own + gaps.neg().logsumexp(dim=1)).mean()
