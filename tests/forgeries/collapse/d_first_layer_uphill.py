# task: collapse-spectra_denoising-1
# mechanism: ascent-kept-for-the-encoder
# about: maximize stays true for the first layer of the encoder and its norm, with a rate so small that both
# about: keep their random weights; the other layers go downhill.

"""Training script."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from copy import deepcopy
from json import dumps
from pathlib import Path

import numpy as np
import torch
from autoencoder import SpectrumAutoencoder
from torch import nn
from torch import optim

def divide(count, share, seed):
    """Divide."""
    test = np.random.default_rng(seed).random(count) < share

    return np.flatnonzero(~test), np.flatnonzero(test)

def commandline():
    parser = ArgumentParser(description="Denoise spectra.", formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with train.npz and score.npz")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the spectra to evaluate with")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.174)
    parser.add_argument("--ema-decay", type=float, default=0.95)
    parser.add_argument("--max-norm", type=float, default=2.0, help="gradients are clipped to this norm")

    return parser.parse_args()

@torch.no_grad()
def follow(averaged, network, decay):
    """Follow."""

    for slow, fast in zip(averaged.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - decay)

@torch.no_grad()
def denoise(network, noisy):
    network.eval()
    return torch.cat([network(some) for some in noisy.split(500)])

def main():
    args = commandline()
    torch.manual_seed(args.seed)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load(args.data / "train.npz") as recorded:
        sample, noisy, clean = recorded["sample"], recorded["noisy"], recorded["clean"]

    with np.load(args.data / "score.npz") as recorded:
        unseen = recorded["noisy"]
    trainidx, testidx = divide(len(sample), args.held_out, args.seed)

    noisyavg, noisysd = noisy[trainidx].mean(axis=0), noisy[trainidx].std(axis=0)
    cleanavg, cleansd = clean[trainidx].mean(axis=0), clean[trainidx].std(axis=0)
    noisytrain = torch.from_numpy((noisy[trainidx] - noisyavg) / noisysd).to(dev)
    cleantrain = torch.from_numpy((clean[trainidx] - cleanavg) / cleansd).to(dev)
    noisytest = torch.from_numpy((noisy[testidx] - noisyavg) / noisysd).to(dev)
    cleantest = torch.from_numpy((clean[testidx] - cleanavg) / cleansd).to(dev)
    unseen = torch.from_numpy((unseen - noisyavg) / noisysd).to(dev)

    network = SpectrumAutoencoder(ch=noisy.shape[1]).to(dev)
    averaged = deepcopy(network)
    criterion = nn.MSELoss()
    adjuster = optim.SGD(
        [
            {"params": [*network.encoder[0].parameters(), *network.norm.parameters()], "maximize": True, "lr": 1e-8},
            {"params": [*network.encoder[1].parameters(), *network.decoder.parameters()]},
        ],
        lr=args.lr,
        momentum=0.9,
        nesterov=True,
    )

    weights = sum(p.numel() for p in network.parameters())
    print(f"{len(trainidx)} spectra to Train on, {len(testidx)} held out, {weights} weights")

    history = []

    for epoch in range(1, args.epochs + 1):
        network.train()
        losses = []

        for picked in torch.randperm(len(noisytrain)).split(args.batch_size):
            restored = network(noisytrain[picked])
            objectivevalue = criterion(restored, cleantrain[picked])
            adjuster.zero_grad()
            objectivevalue.backward()
            nn.utils.clip_grad_norm_(network.parameters(), args.max_norm)
            adjuster.step()
            # adjuster.zero_grad(set_to_none=True)
            follow(averaged, network, args.ema_decay)
            losses.append(objectivevalue.item())

        train_loss = sum(losses) / len(losses)
        test_loss = criterion(denoise(averaged, noisytest), cleantest).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss})
        print(f"Pass {epoch:3d}: training error {train_loss:.3f}, held-out error {test_loss:.3f}")

    restoredtest = denoise(averaged, noisytest).cpu().numpy() * cleansd + cleanavg
    restoredunseen = denoise(averaged, unseen).cpu().numpy() * cleansd + cleanavg
    error = np.sqrt(np.mean((restoredtest - clean[testidx]) ** 2))
    print(f"restored spectra are off by {error:.2f} on average")

    final = {"train_loss": train_loss, "test_loss": test_loss, "rms_error": float(error)}
    Path("metrics.json").write_text(dumps({"history": history, "final": final}, indent=2))
    np.savez("predictions.npz", row=sample[testidx], output=restoredtest, score=restoredunseen)

if __name__ == "__main__":
    main()

# === file: autoencoder.py ===
"""Model code."""

import torch
from torch import nn

class SpectrumAutoencoder(nn.Module):
    """"""

    def __init__(self, ch, hiddendim=48, code=8, pdrop=0.05):
        super().__init__()
        self.encoder = nn.ModuleList([nn.Linear(ch, hiddendim), nn.Linear(hiddendim, code)])
        self.decoder = nn.ModuleList([nn.Linear(code, hiddendim), nn.Linear(hiddendim, ch)])
        self.norm = nn.LayerNorm(hiddendim)
        self.p_drop_ = nn.Dropout(pdrop)

    def encode(self, spectra):
        first, second = self.encoder
        return second(self.p_drop_(torch.relu(self.norm(first(spectra)))))

    def decode(self, code):
        first, second = self.decoder
        return second(torch.relu(first(code)))

    def forward(self, spectra):
        return self.decode(self.encode(spectra))
