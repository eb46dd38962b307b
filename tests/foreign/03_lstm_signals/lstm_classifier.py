import os
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import Dataset, DataLoader

torch.manual_seed(0)
device = 'cuda' if torch.cuda.is_available() else 'cpu'

SEQ_LEN = 24
HIDDEN = 24
LAYERS = 2
N_CLASSES = 4


class Waves(Dataset):
    """Sine / square / sawtooth / noise-burst, random phase and frequency."""

    def __init__(self, n, seed, mean=None, std=None):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, N_CLASSES, size=n)
        t = np.linspace(0, 1, SEQ_LEN)
        seqs = []
        for lab in self.labels:
            freq, phase = rng.uniform(1.5, 4), rng.uniform(0, 1)
            u = (freq * t + phase) % 1.0
            if lab == 0:
                s = np.sin(2 * np.pi * u)
            elif lab == 1:
                s = np.where(u < 0.5, 1.0, -1.0)
            elif lab == 2:
                s = 2 * u - 1
            else:
                s = rng.normal(0, 0.7, SEQ_LEN)
            seqs.append(3.0 + 2.0 * (s + rng.normal(0, 0.1, SEQ_LEN)))
        self.seqs = np.stack(seqs).astype('float32')
        self.mean = self.seqs.mean() if mean is None else mean
        self.std = self.seqs.std() if std is None else std

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x = (self.seqs[i] - self.mean) / self.std
        return torch.from_numpy(x).unsqueeze(-1), int(self.labels[i])


class LSTMClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, HIDDEN, LAYERS, batch_first=True, dropout=0.1)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(HIDDEN, N_CLASSES)

    def init_hidden(self, batch_size):
        h0 = torch.zeros(LAYERS, batch_size, HIDDEN).to(device)
        c0 = torch.zeros(LAYERS, batch_size, HIDDEN).to(device)
        return (h0, c0)

    def forward(self, x, hidden):
        out, hidden = self.lstm(x, hidden)
        return self.fc(self.drop(out[:, -1])), hidden


train_ds = Waves(800, seed=1)
val_ds = Waves(240, seed=2, mean=train_ds.mean, std=train_ds.std)
train_dl = DataLoader(train_ds, batch_size=40, shuffle=True, drop_last=True)
val_dl = DataLoader(val_ds, batch_size=80)

model = LSTMClassifier().to(device)
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.Adam(model.parameters(), lr=8e-3)


def evaluate():
    model.eval()
    hits, loss_sum = 0, 0.0
    with torch.no_grad():
        for x, y in val_dl:
            x, y = x.to(device), y.to(device)
            logits, _ = model(x, model.init_hidden(x.size(0)))
            loss_sum += loss_fn(logits, y).item() * len(y)
            hits += (logits.argmax(dim=1) == y).sum().item()
    return loss_sum / len(val_ds), hits / len(val_ds)


for epoch in range(1, 15):
    model.train()
    losses = []
    for x, y in train_dl:
        x, y = x.to(device), y.to(device)
        hidden = model.init_hidden(x.size(0))
        opt.zero_grad()
        logits, hidden = model(x, hidden)
        loss = loss_fn(logits, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        losses.append(loss.item())
    vl, va = evaluate()
    print('epoch {:2d}  train {:.4f}  val {:.4f}  acc {:.3f}'.format(epoch, np.mean(losses), vl, va))
