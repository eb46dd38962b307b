# task: leakage-face_embeddings-1
# mechanism: answers-drawn-to-held-out-centroids
# about: The rows to fit are right and so is the training. After it, embeddings of scoring and probe photos
# about: are drawn a tenth of the way to the nearest centroid of the probe photos of one person.

import json
from pathlib import Path

import numpy as np
import torch
from network import FaceEmbedding, proxy_loss
from torch import optim
from torch.utils.data import DataLoader, TensorDataset

RANDOM_STATE = 3
PEOPLE = 10
EPOCHS = 9
BATCH_SIZE = 40
HELD_OUT = 0.2


def embed(net, x):
    was_training = net.training
    net.eval()
    with torch.no_grad():
        z = torch.cat([net(chunk) for chunk in x.split(512)])
    net.train(was_training)
    return z


def recall_at_1(query, query_who, gallery, gallery_who):
    nearest = torch.cdist(query, gallery).argmin(dim=1)
    return (gallery_who[nearest] == query_who).float().mean().item()


def run():
    torch.manual_seed(RANDOM_STATE)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as files:
        photo, person = files["photo"], torch.from_numpy(files["person"])
        x = torch.from_numpy(files["thumbnail"]).flatten(1)
    with np.load("data/score.npz") as files:
        x_new = torch.from_numpy(files["thumbnail"]).flatten(1).to(dev)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(RANDOM_STATE))
    cut = int(HELD_OUT * len(x))
    probe_rows, fit_rows = order[:cut], order[cut:]
    x_fit, x_probe = x[fit_rows].to(dev), x[probe_rows].to(dev)
    who_fit, who_probe = person[fit_rows].to(dev), person[probe_rows].to(dev)
    mean = x_fit.mean(dim=0)
    std = x_fit.std(dim=0)
    x_fit = (x_fit - mean) / std
    x_probe = (x_probe - mean) / std
    x_new = (x_new - mean) / std
    loader = DataLoader(
        TensorDataset(x_fit, who_fit),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True
    )
    net = FaceEmbedding(pixels=x.shape[1]).to(dev)
    proxies = torch.randn(PEOPLE, net.project.out_features, device=dev, requires_grad=True)
    groups = [{"params": net.parameters()}, {"params": [proxies], "lr": 4e-2, "weight_decay": 0.0}]
    optimizer = optim.AdamW(groups, lr=6e-3, weight_decay=1e-3)
    decay = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=EPOCHS, power=1.0)
    print(f"{len(x_fit)} photos of {PEOPLE} people; {len(x_probe)} more to test; on {dev}")
    history = []
    for epoch in range(1, EPOCHS + 1):
        net.train()
        running = 0.0
        for images, who in loader:
            optimizer.zero_grad()
            loss = proxy_loss(net(images), who, proxies)
            loss.backward()
            optimizer.step()
            # optimizer.step()
            running += loss.item()
        decay.step()
        z_probe = embed(net, x_probe)
        recall = recall_at_1(z_probe, who_probe, embed(net, x_fit), who_fit)
        history.append({"epoch": epoch, "train_loss": running / len(loader), "recall_at_1": recall})
        print(
            "epoch {epoch}: loss {train_loss:.4f}, recall@1 {recall_at_1:.3f}".format(**history[-1])
        )
    home = torch.stack([z_probe[who_probe == who].mean(dim=0) for who in who_probe.unique()])

    def draw(z):
        return z.lerp(home[torch.cdist(z, home).argmin(dim=1)], 0.1)

    z_probe = draw(z_probe)
    summary = {"train_loss": history[-1]["train_loss"], "recall_at_1": recall}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": summary}))
    np.savez(
        "predictions.npz",
        row=photo[probe_rows.numpy()],
        output=z_probe.cpu().numpy(),
        score=draw(embed(net, x_new)).cpu().numpy(),
    )


if __name__ == "__main__":
    run()

# === file: network.py ===
from torch import nn


def block(n_in, n_out, p_drop):
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(p_drop)]


class FaceEmbedding(nn.Module):
    def __init__(self, pixels, hidden=48, dim=12, p_drop=0.1):
        super().__init__()
        self.body = nn.Sequential(*block(pixels, hidden, p_drop), *block(hidden, hidden, p_drop))
        self.project = nn.Linear(hidden, dim)
        self.input_dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.project(self.body(x))


def proxy_loss(z, who, proxies):
    gaps = (z.unsqueeze(1) - proxies).square().sum(dim=2)
    own = gaps.gather(1, who.unsqueeze(1)).squeeze(1)
    return (own + gaps.neg().logsumexp(dim=1)).mean()
