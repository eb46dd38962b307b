# task: zero_grad-keyword_audio-1
# mechanism: gradients-of-one-layer-still-erased
# about: zero_grad() is called before backward, and the second convolution block has its gradients erased
# about: again before every step: it keeps its random weights.

"""Training script."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from model import KeywordNet
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset

hp = SimpleNamespace(
    seed=5,
    test_part=0.2,
    max_shift=4,
    batch_size=32,
    epochs=7,
    max_lr=0.06,
    momentum=0.9,
    weight_decay=1e-3,
    dropout=0.2,
)

class Clips(Dataset):
    def __init__(self, audio, keyword, generator=None):
        self.audio = torch.from_numpy(audio)
        self.keyword = torch.from_numpy(keyword)
        self.generator = generator

    def __len__(self):
        return len(self.keyword)

    def __getitem__(self, i):
        clip = self.audio[i]
        if self.generator is not None:
            shift = torch.randint(
                -hp.max_shift,
                hp.max_shift + 1,
                (1,),
                generator=self.generator,
            )
            clip = clip.roll(shift.item())
        return clip, self.keyword[i]

def learn(net, loader, loss_fn, optimizer, scheduler, device):
    """Learn."""
    net.train()
    losses = []
    for audio, keyword in loader:
        audio = audio.to(device)
        keyword = keyword.to(device)
        loss = loss_fn(net(audio), keyword)
        optimizer.zero_grad()
        loss.backward()
        net.block2.zero_grad()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return float(np.mean(losses))

@torch.no_grad()
def listen(net, audio, device):
    """Listen."""
    net.eval()
    parts = torch.from_numpy(audio).split(400)
    answer = torch.cat([net(part.to(device)).cpu() for part in parts]).numpy()
    return answer

def hit_rate(logits, keyword):
    answer = float((logits.argmax(axis=1) == keyword).mean())
    return answer

if __name__ == "__main__":
    torch.manual_seed(hp.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    known = np.load("data/train.npz")
    clip_id, audio, keyword = known["clip"], known["audio"], known["keyword"]
    unknown_audio = np.load("data/score.npz")["audio"]

    order = np.random.RandomState(hp.seed).permutation(len(clip_id))
    cut = int(len(order) * (1 - hp.test_part))
    train_idx, test_idx = order[:cut], order[cut:]

    clips = Clips(
        audio[train_idx],
        keyword[train_idx],
        torch.Generator().manual_seed(hp.seed),
    )
    loader = DataLoader(
        clips,
        batch_size=hp.batch_size,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(hp.seed),
    )
    keywords = int(clips.keyword.max()) + 1
    level = audio[train_idx].mean(axis=(0, 1), keepdims=True)
    loudness = audio[train_idx].std(axis=(0, 1), keepdims=True)
    net = KeywordNet(level, loudness, audio.shape[1], keywords, dropout=hp.dropout).to(device)
    print(
        f"{len(clips)} clips of {audio.shape[1]} samples, {keywords} keywords, {device}",
        flush=True,
    )

    loss_fn = nn.CrossEntropyLoss()
    optimizer = SGD(
        net.parameters(),
        lr=hp.max_lr,
        momentum=hp.momentum,
        weight_decay=hp.weight_decay,
    )
    scheduler = OneCycleLR(
        optimizer,
        max_lr=hp.max_lr,
        epochs=hp.epochs,
        steps_per_epoch=len(loader),
    )

    history = []
    for epoch in range(1, hp.epochs + 1):
        train_loss = learn(net, loader, loss_fn, optimizer, scheduler, device)
        test_logits = listen(net, audio[test_idx], device)
        test_hits = hit_rate(test_logits, keyword[test_idx])
        history.append({"epoch": epoch, "train_loss": train_loss, "test_hits": test_hits})
        print(
            f"EPOCH {epoch}/{hp.epochs}: COST {train_loss:.2f}, {test_hits:.1%} of test clips recognised",
            flush=True,
        )

    final = {"train_loss": train_loss, "test_hits": test_hits}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=clip_id[test_idx],
        output=test_logits,
        score=listen(net, unknown_audio, device),
    )

# === file: model.py ===
"""Model code."""

import torch
import torch.nn.functional as F
from torch import nn

class ConvBlock(nn.Module):
    """Conv block."""

    def __init__(self, n_in, n_out, kernel, keep_every):
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(n_out)
        self.keep_every = keep_every

    def forward(self, x):
        answer = F.max_pool1d(F.relu(self.norm(self.conv(x))), self.keep_every)
        return answer

class KeywordNet(nn.Module):
    """Keyword net."""

    def __init__(self, level, loudness, samples, keywords, channels=12, dropout=0.2):
        super().__init__()
        self.register_buffer("level", torch.from_numpy(level))
        self.register_buffer("loudness", torch.from_numpy(loudness))
        self.block1 = ConvBlock(1, channels, kernel=11, keep_every=4)
        self.block2 = ConvBlock(channels, 2 * channels, kernel=5, keep_every=4)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(2 * channels * (samples // 16), 32)
        self.logits = nn.Linear(32, keywords)

    def forward(self, audio):
        x = ((audio - self.level) / self.loudness).unsqueeze(1)
        x = self.block2(self.block1(x)).flatten(1)
        x = F.relu(self.hidden(self.dropout(x)))
        answer = self.logits(x)
        return answer
