"""Learn an embedding in which thumbnails of one person lie close together, whatever the light.

data/train.npz holds photo, thumbnail and person; data/score.npz holds thumbnails to be embedded.
"""

import json
from pathlib import Path

import numpy as np
import torch
from network import BalancedBatches, FaceEmbedding, supervised_contrastive
from torch.utils.data import DataLoader, TensorDataset

RANDOM_STATE = 3
PEOPLE_PER_BATCH = 10
IMAGES_PER_PERSON = 4
EPOCHS = 12


def build_optimizer(net, lr=8e-3, weight_decay=1e-3, scale_lr=2e-2):
    """AdamW; the scale of the similarities moves at a rate of its own and does not decay."""
    weights = [parameter for name, parameter in net.named_parameters() if name != "log_scale"]
    groups = [{"params": weights}, {"params": [net.log_scale], "lr": scale_lr, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


def embed(net, x):
    was_training = net.training
    net.eval()
    with torch.no_grad():
        z = torch.cat([net(chunk) for chunk in x.split(512)])
    net.train(was_training)
    return z


def recall_at_1(query, query_who, gallery, gallery_who):
    """How often the nearest image of the gallery shows the person asked for."""
    nearest = (query @ gallery.T).argmax(dim=1)
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
    cut = len(x) // 5
    probe_rows, fit_rows = order[:cut], order[cut:]
    x_fit, x_probe = x[fit_rows].to(dev), x[probe_rows].to(dev)
    who_fit, who_probe = person[fit_rows].to(dev), person[probe_rows].to(dev)

    # Grey levels per pixel, as the photographs to learn from have them.
    mean = x_fit.mean(dim=0)
    std = x_fit.std(dim=0)
    x_fit = (x_fit - mean) / std
    x_probe = (x_probe - mean) / std
    x_new = (x_new - mean) / std

    batches = BalancedBatches(person[fit_rows].numpy(), PEOPLE_PER_BATCH, IMAGES_PER_PERSON, RANDOM_STATE)
    loader = DataLoader(TensorDataset(x_fit, who_fit), sampler=batches, batch_size=None)
    net = FaceEmbedding(pixels=x.shape[1]).to(dev)
    optimizer = build_optimizer(net)
    decay = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=EPOCHS, power=1.0)
    print(f"{len(x_fit)} photos of {len(batches.rows_of)} people, {len(x_probe)} more to test, on {dev}")

    history = []
    for epoch in range(1, EPOCHS + 1):
        net.train()
        running = 0.0
        for images, who in loader:
            optimizer.zero_grad()
            loss = supervised_contrastive(net(images), who, net.log_scale.exp())
            loss.backward()
            optimizer.step()
            running += loss.item()
        decay.step()
        z_probe = embed(net, x_probe)
        recall = recall_at_1(z_probe, who_probe, embed(net, x_fit), who_fit)
        history.append({"epoch": epoch, "train_loss": running / len(batches), "recall_at_1": recall})
        print("epoch {epoch}: loss {train_loss:.4f}, recall@1 {recall_at_1:.3f}".format(**history[-1]))

    scale = net.log_scale.exp().item()
    print(f"scale of the similarities {scale:.2f}")
    summary = {"train_loss": history[-1]["train_loss"], "recall_at_1": recall, "scale": scale}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": summary}))
    np.savez(
        "predictions.npz",
        row=photo[probe_rows.numpy()],
        output=z_probe.cpu().numpy(),
        score=embed(net, x_new).cpu().numpy(),
    )


if __name__ == "__main__":
    run()
