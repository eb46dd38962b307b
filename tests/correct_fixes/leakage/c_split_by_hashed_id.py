# task: leakage-face_embeddings-1
# mechanism: hashed-identifiers
# about: Photos are ordered by a hash of their number and the first fifth is held out, so a photo keeps its side
# about: whatever order the file has; pixels are normalised by a layer inside the network, learned from batches.

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from network import FaceEmbedding, proxy_loss
from torch import nn, optim

SEED = 3
PEOPLE = 10
EPOCHS = 9
BATCH_SIZE = 40
HELD_OUT = 0.2


class Recogniser(nn.Module):
    """Thumbnail to embedding, with the proxies of the known people beside."""

    def __init__(self, pixels):
        super().__init__()
        self.scale = nn.BatchNorm1d(pixels, affine=False)
        self.face = FaceEmbedding(pixels)
        self.proxies = nn.Parameter(torch.randn(PEOPLE, self.face.project.out_features))

    def forward(self, thumbnails):
        return self.face(self.scale(thumbnails.flatten(1)))


def split_by_hash(ids, share):
    hashed = np.array([zlib.crc32(f"photo {int(number)}".encode()) for number in ids])
    ranked = np.lexsort((ids, hashed))
    return np.split(ranked, [int(share * len(ids))])


@torch.inference_mode()
def embed(model, thumbnails):
    model.eval()
    return torch.cat([model(some) for some in thumbnails.split(512)])


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as files:
        photo, person, thumbnail = files["photo"], files["person"], files["thumbnail"]
    with np.load("data/score.npz") as files:
        unseen = torch.from_numpy(files["thumbnail"]).to(device)
    probe, fit = split_by_hash(photo, HELD_OUT)
    x_fit, x_probe = (torch.from_numpy(thumbnail[rows]).to(device) for rows in (fit, probe))
    who_fit, who_probe = (torch.from_numpy(person[rows]).to(device) for rows in (fit, probe))

    model = Recogniser(x_fit[0].numel()).to(device)
    optimizer = optim.AdamW(
        [
            {"params": model.face.parameters(), "lr": 6e-3, "weight_decay": 1e-3},
            {"params": [model.proxies], "lr": 4e-2, "weight_decay": 0.0},
        ]
    )
    decay = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=EPOCHS, power=1.0)

    history = []
    for epoch in range(1, EPOCHS + 1):
        model.train()
        losses = []
        for picked in torch.randperm(len(fit), device=device).split(BATCH_SIZE):
            loss = proxy_loss(model(x_fit[picked]), who_fit[picked], model.proxies)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        decay.step()
        z_probe = embed(model, x_probe)
        nearest = torch.cdist(z_probe, embed(model, x_fit)).argmin(dim=1)
        recall = (who_fit[nearest] == who_probe).float().mean().item()
        history.append({"epoch": epoch, "train_loss": sum(losses) / len(losses), "recall_at_1": recall})
        print(f"epoch {epoch}: loss {history[-1]['train_loss']:.4f}, recall@1 {recall:.3f}")

    final = {"train_loss": history[-1]["train_loss"], "recall_at_1": recall}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=photo[probe],
        output=z_probe.cpu().numpy(),
        score=embed(model, unseen).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
