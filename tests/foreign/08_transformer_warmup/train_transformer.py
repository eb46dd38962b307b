"""
Transformer encoder that regresses the duration-weighted mean of the *flagged*
readings in a variable-length sensor log.

Each token is (reading, duration, flag).  Logs have between 5 and MAX_LEN
tokens; shorter ones are padded, and the padding is masked out in attention
and in pooling.
"""
import math
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


MAX_LEN = 10
N_TRAIN, N_VAL, N_TEST = 768, 192, 192
D_MODEL = 32
N_HEAD = 4
N_LAYERS = 2
BATCH = 64
EPOCHS = 10
WARMUP_STEPS = 24
PEAK_LR = 4e-3


def set_seed(s):
    random.seed(s)
    np.random.seed(s)
    torch.manual_seed(s)
    torch.cuda.manual_seed_all(s)


def make_logs(n):
    tokens = np.zeros((n, MAX_LEN, 3), dtype=np.float32)
    pad = np.ones((n, MAX_LEN), dtype=bool)
    target = np.zeros(n, dtype=np.float32)
    for i in range(n):
        length = random.randint(5, MAX_LEN)
        reading = np.random.normal(20.0, 6.0, length)
        duration = np.random.uniform(30, 90, length)
        flag = np.random.rand(length) < 0.4
        flag[np.random.randint(length)] = True
        tokens[i, :length, 0] = reading
        tokens[i, :length, 1] = duration
        tokens[i, :length, 2] = flag
        pad[i, :length] = False
        target[i] = (reading * duration * flag).sum() / (duration * flag).sum()
    return torch.from_numpy(tokens), torch.from_numpy(pad), torch.from_numpy(target)


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.0, max_len=64):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer('pe', pe)

    def forward(self, x):
        return self.dropout(x + 0.1 * self.pe[:, :x.size(1)])


class LogRegressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(3, D_MODEL)
        self.pos = PositionalEncoding(D_MODEL, dropout=0.02)
        layer = nn.TransformerEncoderLayer(
            D_MODEL, N_HEAD, dim_feedforward=64, dropout=0.02,
            activation='gelu', batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, N_LAYERS, norm=nn.LayerNorm(D_MODEL),
                                             enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(D_MODEL, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, x, pad):
        h = self.encoder(self.pos(self.proj(x)), src_key_padding_mask=pad)
        keep = (~pad).unsqueeze(-1).float()
        pooled = (h * keep).sum(1) / keep.sum(1)
        return self.head(pooled).squeeze(-1)


def lr_lambda(step):
    # linear warm-up, then inverse square root decay
    step = step + 1
    if step < WARMUP_STEPS:
        return step / WARMUP_STEPS
    return math.sqrt(WARMUP_STEPS / step)


def main():
    set_seed(17)
    device = torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')

    tokens, pad, target = make_logs(N_TRAIN + N_VAL + N_TEST)
    tr = slice(0, N_TRAIN)
    va = slice(N_TRAIN, N_TRAIN + N_VAL)
    te = slice(N_TRAIN + N_VAL, None)

    # statistics over the real (unpadded) training tokens only; the flag stays 0/1
    real = tokens[tr][~pad[tr]]
    mean, std = real.mean(0), real.std(0)
    mean[2], std[2] = 0.0, 1.0
    tokens = (tokens - mean) / std
    tokens[pad] = 0.0
    t_mean, t_std = target[tr].mean(), target[tr].std()
    target = (target - t_mean) / t_std

    tokens, pad, target = tokens.to(device), pad.to(device), target.to(device)

    model = LogRegressor().to(device)
    print('parameters:', sum(p.numel() for p in model.parameters() if p.requires_grad))
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda)

    def rmse(part):
        model.eval()
        with torch.no_grad():
            out = model(tokens[part], pad[part])
            return (F.mse_loss(out, target[part]).sqrt() * t_std).item()

    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(N_TRAIN).to(device)
        total = 0.0
        for i in range(0, N_TRAIN, BATCH):
            b = order[i:i + BATCH]
            optimizer.zero_grad()
            loss = F.mse_loss(model(tokens[b], pad[b]), target[b])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(b)
        print(f'epoch {epoch:2d} | lr {scheduler.get_last_lr()[0]:.2e} '
              f'| train mse {total / N_TRAIN:.4f} | val rmse {rmse(va):.3f} degrees')

    print(f'test rmse {rmse(te):.3f} degrees (spread of the targets: {t_std:.3f})')


if __name__ == '__main__':
    main()
