"""A small 1-d convolutional network that spots keywords in raw audio."""

import torch
import torch.nn.functional as F
from torch import nn


class ConvBlock(nn.Module):
    """Convolution over time, batch norm, ReLU; then only the largest of every few steps is kept."""

    def __init__(self, n_in, n_out, kernel, keep_every):
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(n_out)
        self.keep_every = keep_every

    def forward(self, x):
        return F.max_pool1d(F.relu(self.norm(self.conv(x))), self.keep_every)


class KeywordNet(nn.Module):
    """Audio (batch, samples) in, one logit per keyword out.

    The network brings the audio to its own scale: level and loudness are those of the clips it learns from.
    """

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
        return self.logits(x)
