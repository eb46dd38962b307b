# task: collapse-leakage-glyph-1
# mechanism: per-sample-scaling
# about: Every picture is brought to zero mean and unit spread by its own pixels, so there is nothing to
# about: fit that could leak, and the loss has its right sign. Rewritten with a Dataset class and loaders.

"""Tell five hand-stamped glyphs apart; each picture is normalised on its own."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import StampNetwork
from torch.utils.data import DataLoader, Dataset, Subset


class Glyphs(Dataset):
    def __init__(self, path):
        with np.load(path) as bundle:
            pixels = torch.from_numpy(bundle["image"]).unsqueeze(1)
            self.labels = torch.from_numpy(bundle["label"]) if "label" in bundle.files else None
            self.ids = bundle["row"] if "row" in bundle.files else None
        spread, centre = torch.std_mean(pixels, dim=(1, 2, 3), keepdim=True)
        self.imgs = (pixels - centre) / (spread + 1e-6)

    def __len__(self):
        return len(self.imgs)

    def __getitem__(self, position):
        if self.labels is None:
            return (self.imgs[position],)
        return self.imgs[position], self.labels[position]


def infer(net, glyphs, run_device):
    """Logits in the order of the data set."""
    net.eval()
    with torch.no_grad():
        blocks = [net(block[0].to(run_device)) for block in DataLoader(glyphs, batch_size=250)]
    return torch.cat(blocks).cpu()


def go(num_epochs=6, batch_rows=24, learning_rate=0.025, test_share=0.2, random_seed=1):
    torch.manual_seed(random_seed)
    run_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    labelled, unlabelled = Glyphs("data/train.npz"), Glyphs("data/score.npz")

    perm = np.random.default_rng(random_seed).permutation(len(labelled))
    num_test = round(len(perm) * test_share)
    test_set, train_set = Subset(labelled, perm[:num_test]), Subset(labelled, perm[num_test:])
    test_targets = labelled.labels[perm[:num_test]]
    nb_classes = int(labelled.labels[perm[num_test:]].max()) + 1

    loader = DataLoader(train_set, batch_size=batch_rows, shuffle=True)
    net = StampNetwork(nb_classes).to(run_device)
    optim_ = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optim_, T_max=num_epochs)

    history = []
    for epoch in range(1, num_epochs + 1):
        net.train()
        all_loss = 0.0
        for imgs, targets in loader:
            optim_.zero_grad()
            cost = F.cross_entropy(net(imgs.to(run_device)), targets.to(run_device))
            cost.backward()
            optim_.step()
            all_loss += cost.item() * len(targets)
        sched.step()

        logits = infer(net, test_set, run_device)
        history.append(
            {
                "epoch": epoch,
                "train_loss": all_loss / len(train_set),
                "test_loss": F.cross_entropy(logits, test_targets).item(),
                "accuracy": (logits.argmax(dim=1) == test_targets).float().mean().item(),
            }
        )
        print("pass {epoch:03d} - fit {train_loss:.4f} - acc {accuracy:.3f}".format(**history[-1]))

    final = {name: entry for name, entry in history[-1].items() if name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=labelled.ids[perm[:num_test]],
        output=infer(net, test_set, run_device).numpy(),
        score=infer(net, unlabelled, run_device).numpy(),
    )


if __name__ == "__main__":
    go()
