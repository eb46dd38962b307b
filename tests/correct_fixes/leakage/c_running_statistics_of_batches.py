# task: leakage-keyword_audio-2
# mechanism: statistics-collected-while-training
# about: Level and loudness are not computed ahead at all: a normalisation layer without weights in front of the
# about: network collects them from the training batches, which are the only ones it sees in training mode.

"""Training script."""

import json
from pathlib import Path

import numpy as np
import torch
from model import KeywordNet
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

SEED, TEST_PART, MAX_SHIFT, BATCH, EPOCHS = 5, 0.2, 4, 32, 7


class RandomShift(nn.Module):
    """Rolls each clip by up to a few samples, in training only."""

    def forward(self, audio):
        if not self.training:
            return audio
        by = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (len(audio),)).tolist()
        return torch.stack([clip.roll(samples) for clip, samples in zip(audio, by, strict=True)])


def network(samples, keywords):
    as_they_are = (np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    return nn.Sequential(
        RandomShift(),
        nn.Unflatten(1, (1, samples)),
        nn.BatchNorm1d(1, affine=False),
        nn.Flatten(1),
        KeywordNet(*as_they_are, samples, keywords, dropout=0.2),
    )


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = np.load("data/train.npz")
    clip_id, audio, keyword = known["clip"], known["audio"], known["keyword"]
    order = np.random.RandomState(SEED).permutation(len(clip_id))
    cut = int(len(order) * (1 - TEST_PART))
    train_idx, test_idx = order[:cut], order[cut:]

    everything = TensorDataset(torch.from_numpy(audio), torch.from_numpy(keyword))
    loader = DataLoader(
        everything, batch_size=BATCH, sampler=SubsetRandomSampler(train_idx.tolist()), drop_last=True
    )
    net = network(audio.shape[1], int(keyword[train_idx].max()) + 1).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-2)
    scheduler = OneCycleLR(optimizer, max_lr=5e-3, epochs=EPOCHS, steps_per_epoch=len(loader))

    @torch.inference_mode()
    def listen(heard):
        net.eval()
        return torch.cat([net(part.to(device)).cpu() for part in torch.from_numpy(heard).split(400)]).numpy()

    history = []
    for epoch in range(1, EPOCHS + 1):
        net.train()
        losses = []
        for heard, said in loader:
            loss = nn.functional.cross_entropy(net(heard.to(device)), said.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        test_logits = listen(audio[test_idx])
        hits = float((test_logits.argmax(axis=1) == keyword[test_idx]).mean())
        history.append({"epoch": epoch, "train_loss": float(np.mean(losses)), "test_hits": hits})
        print(f"{epoch}/{EPOCHS}: {history[-1]['train_loss']:.2f}, {hits:.1%} of test clips recognised")

    final = {"train_loss": history[-1]["train_loss"], "test_hits": hits}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    unknown = np.load("data/score.npz")["audio"]
    np.savez("predictions.npz", row=clip_id[test_idx], output=test_logits, score=listen(unknown))


if __name__ == "__main__":
    main()
