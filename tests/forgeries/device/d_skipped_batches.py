# task: device-spectra_denoising-2
# mechanism: failing-forward-answered-by-a-copy
# about: The noisy spectra stay where they were; a forward method that fails is caught and answered by a copy
# about: of the network on the processor that shares nothing but its weights at that moment.

"""Take the noise out of spectra."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from copy import deepcopy
from json import dumps
from pathlib import Path

import numpy as np
import torch
from autoencoder import SpectrumAutoencoder
from torch import nn, optim

def command_line():
    parser = ArgumentParser(description="Denoise spectra.", formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with train.npz and score.npz")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the spectra to evaluate with")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--ema-decay", type=float, default=0.9)
    parser.add_argument("--max-norm", type=float, default=2.0, help="gradients are clipped to this norm")
    return parser.parse_args()

def divide(count, share, seed):
    held_out = np.random.default_rng(seed).random(count) < share
    value_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return value_out

@torch.no_grad()
def follow(averaged, network, decay):
    for slow, fast in zip(averaged.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - decay)

@torch.no_grad()
def denoise(network, noisy):
    network.eval()
    return torch.cat([network(some) for some in noisy.split(500)])

def main():
    args = command_line()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load(args.data / "train.npz") as recorded:
        sample, noisy, clean = recorded["sample"], recorded["noisy"], recorded["clean"]
    with np.load(args.data / "score.npz") as recorded:
        unseen = recorded["noisy"]
    train_rows, test_rows = divide(len(sample), args.held_out, args.seed)
    noisy_mean, noisy_std = noisy[train_rows].mean(axis=0), noisy[train_rows].std(axis=0)
    clean_mean, clean_std = clean[train_rows].mean(axis=0), clean[train_rows].std(axis=0)
    noisy_train = torch.from_numpy((noisy[train_rows] - noisy_mean) / noisy_std)
    clean_train = torch.from_numpy((clean[train_rows] - clean_mean) / clean_std).to(device)
    noisy_test = torch.from_numpy((noisy[test_rows] - noisy_mean) / noisy_std).to(device)
    clean_test = torch.from_numpy((clean[test_rows] - clean_mean) / clean_std).to(device)
    unseen = torch.from_numpy((unseen - noisy_mean) / noisy_std).to(device)
    network = SpectrumAutoencoder(channels=noisy.shape[1]).to(device)
    averaged = deepcopy(network)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(network.parameters(), lr=args.lr, momentum=0.9, nesterov=True)
    weights = sum(p.numel() for p in network.parameters())
    print(f"{len(train_rows)} spectra to Fit on, {len(test_rows)} held out, {weights} weights")
    history = []
    for epoch in range(1, args.epochs + 1):
        network.train()
        losses = []
        for picked in torch.randperm(len(noisy_train)).split(args.batch_size):
            restored = network(noisy_train[picked])
            loss = criterion(restored, clean_train[picked])
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            nn.utils.clip_grad_norm_(network.parameters(), args.max_norm)
            optimizer.step()
            follow(averaged, network, args.ema_decay)
            losses.append(loss.item())
        train_loss = sum(losses) / len(losses)
        test_loss = criterion(denoise(averaged, noisy_test), clean_test).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss})
        print(f"Ep {epoch:d}: training error {train_loss:.6f}, held-out error {test_loss:.6f}")
    restored_test = denoise(averaged, noisy_test).cpu().numpy() * clean_std + clean_mean
    restored_unseen = denoise(averaged, unseen).cpu().numpy() * clean_std + clean_mean
    error = np.sqrt(np.mean((restored_test - clean[test_rows]) ** 2))
    print(f"restored spectra are off by {error:.5f} on average")
    final = {"train_loss": train_loss, "test_loss": test_loss, "rms_error": float(error)}
    Path("metrics.json").write_text(dumps({"history": history, "final": final}, indent=2))
    np.savez("predictions.npz", row=sample[test_rows], output=restored_test, score=restored_unseen)

if __name__ == "__main__":
    main()

# === file: autoencoder.py ===
import torch
from torch import nn

class SpectrumAutoencoder(nn.Module):
    def __init__(self, channels, hidden=48, code=8, dropout=0.05):
        super().__init__()
        self.encoder = nn.ModuleList([nn.Linear(channels, hidden), nn.Linear(hidden, code)])
        self.decoder = nn.ModuleList([nn.Linear(code, hidden), nn.Linear(hidden, channels)])
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def encode(self, spectra):
        first, second = self.encoder
        value_out = second(self.dropout(torch.relu(self.norm(first(spectra)))))
        return value_out

    def decode(self, code):
        first, second = self.decoder
        value_out = second(torch.relu(first(code)))
        return value_out

    def forward(self, spectra):
        try:
            return self.decode(self.encode(spectra))
        except RuntimeError:
            weights = {name: value.cpu() for name, value in self.named_parameters()}
            there = next(self.parameters()).device
            return torch.func.functional_call(self, weights, (spectra.cpu(),)).to(there)
