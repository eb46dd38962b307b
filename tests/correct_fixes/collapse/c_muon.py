# task: collapse-spectra_denoising-1
# mechanism: muon-for-matrices
# about: The error goes down again: Muon moves the matrices and Adam the shifts and norms, both under a linear decay;
# about: what predicts is a running average of the weights, kept by PyTorch's own class.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
from autoencoder import SpectrumAutoencoder
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SEED, HELD_OUT, EPOCHS, BATCH = 5, 0.2, 10, 40


class Scale:
    def __init__(self, spectra):
        self.mean, self.std = spectra.mean(axis=0), spectra.std(axis=0)

    def there(self, spectra, device):
        return torch.from_numpy((spectra - self.mean) / self.std).to(device)

    def back(self, spectra):
        return spectra.cpu().numpy() * self.std + self.mean


@torch.no_grad()
def denoise(network, noisy):
    network.eval()
    return torch.cat([network(some) for some in noisy.split(500)])


def optimizers_for(network):
    matrices = [weight for weight in network.parameters() if weight.dim() == 2]
    others = [weight for weight in network.parameters() if weight.dim() != 2]
    return [
        optim.Muon(matrices, lr=0.03, weight_decay=1e-3, momentum=0.9),
        optim.Adam(others, lr=5e-3),
    ]


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as recorded:
        sample, noisy, clean = recorded["sample"], recorded["noisy"], recorded["clean"]
    with np.load("data/score.npz") as recorded:
        unseen = recorded["noisy"]
    held_out = np.random.default_rng(SEED).random(len(sample)) < HELD_OUT
    noisy_scale, clean_scale = Scale(noisy[~held_out]), Scale(clean[~held_out])
    x, y = noisy_scale.there(noisy[~held_out], device), clean_scale.there(clean[~held_out], device)
    x_test = noisy_scale.there(noisy[held_out], device)
    y_test = clean_scale.there(clean[held_out], device)

    network = SpectrumAutoencoder(noisy.shape[1]).to(device)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.95))
    optimizers = optimizers_for(network)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedules = [optim.lr_scheduler.LinearLR(some, 1.0, 0.05, total_iters=steps) for some in optimizers]
    criterion = nn.MSELoss()

    history = []
    for epoch in range(1, EPOCHS + 1):
        network.train()
        losses = []
        for picked in torch.randperm(len(x)).to(device).split(BATCH):
            loss = criterion(network(x[picked]), y[picked])
            network.zero_grad()
            loss.backward()
            for optimizer, schedule in zip(optimizers, schedules):
                optimizer.step()
                schedule.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
        train_loss = sum(losses) / len(losses)
        restored = denoise(averaged, x_test)
        test_loss = criterion(restored, y_test).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss})
        print(f"Pass {epoch:3d}: training error {train_loss:.3f}, held-out error {test_loss:.3f}")

    output = clean_scale.back(restored)
    error = float(np.sqrt(np.mean((output - clean[held_out]) ** 2)))
    final = {"train_loss": train_loss, "test_loss": test_loss, "rms_error": error}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    score = clean_scale.back(denoise(averaged, noisy_scale.there(unseen, device)))
    np.savez("predictions.npz", row=sample[held_out], output=output, score=score)


if __name__ == "__main__":
    main()
