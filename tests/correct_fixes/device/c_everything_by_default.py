# task: device-spectra_denoising-2
# mechanism: default-device-for-everything
# about: The device is made PyTorch's default once, and every tensor is built under it with torch.tensor; the data
# about: loader shuffles with a generator of that device.

"""Take the noise out of spectra."""

import json
from pathlib import Path

import numpy as np
import torch
from autoencoder import SpectrumAutoencoder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED, HELD_OUT, EPOCHS, BATCH, DECAY = 5, 0.2, 10, 40, 0.9

torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")


class Units(nn.Module):
    """Spectra in units of what the training spectra show, and back."""

    def __init__(self, spectra):
        super().__init__()
        self.register_buffer("mean", spectra.mean(dim=0))
        self.register_buffer("std", spectra.std(dim=0, correction=0))

    def forward(self, spectra):
        return (spectra - self.mean) / self.std

    def back(self, spectra):
        return spectra * self.std + self.mean


class Denoiser(nn.Module):
    def __init__(self, noisy, clean):
        super().__init__()
        self.seen, self.wanted = Units(noisy), Units(clean)
        self.net = SpectrumAutoencoder(channels=noisy.size(1))

    def forward(self, noisy):
        return self.net(self.seen(noisy))

    def error(self, noisy, clean):
        return nn.functional.mse_loss(self(noisy), self.wanted(clean))


def main():
    torch.manual_seed(SEED)
    device = torch.get_default_device()
    with np.load("data/train.npz") as recorded:
        sample, noisy, clean = recorded["sample"], recorded["noisy"], recorded["clean"]
    with np.load("data/score.npz") as recorded:
        unseen = torch.tensor(recorded["noisy"])
    held_out = np.random.default_rng(SEED).random(len(sample)) < HELD_OUT
    noisy_train, clean_train = torch.tensor(noisy[~held_out]), torch.tensor(clean[~held_out])
    noisy_test, clean_test = torch.tensor(noisy[held_out]), torch.tensor(clean[held_out])

    loader = DataLoader(
        TensorDataset(noisy_train, clean_train),
        batch_size=BATCH,
        shuffle=True,
        generator=torch.Generator(device).manual_seed(SEED),
    )
    denoiser = Denoiser(noisy_train, clean_train)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=8e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    slow = {name: weight.detach().clone() for name, weight in denoiser.state_dict().items()}

    history = []
    for epoch in range(1, EPOCHS + 1):
        denoiser.train()
        losses = []
        for some_noisy, some_clean in loader:
            loss = denoiser.error(some_noisy, some_clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            for name, weight in denoiser.state_dict().items():
                slow[name].lerp_(weight, 1 - DECAY)
            losses.append(loss.item())
        train_loss = sum(losses) / len(losses)

        fast = {name: weight.clone() for name, weight in denoiser.state_dict().items()}
        denoiser.load_state_dict(slow)
        denoiser.eval()
        with torch.no_grad():
            test_loss = denoiser.error(noisy_test, clean_test).item()
            restored = [denoiser.wanted.back(denoiser(some)).cpu().numpy() for some in (noisy_test, unseen)]
        denoiser.load_state_dict(fast)
        history.append({"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss})
        print(f"{epoch:d}: training error {train_loss:.6f}, held-out error {test_loss:.6f}")

    output, score = restored
    error = float(np.sqrt(np.mean((output - clean[held_out]) ** 2)))
    final = {"train_loss": train_loss, "test_loss": test_loss, "rms_error": error}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez("predictions.npz", row=sample[held_out], output=output, score=score)


if __name__ == "__main__":
    main()
