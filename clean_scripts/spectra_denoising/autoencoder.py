"""The network: an encoder that squeezes a spectrum into a short code, and a decoder that draws it anew."""

import torch
from torch import nn


class SpectrumAutoencoder(nn.Module):
    """Spectra (batch, channels) to spectra of the same shape."""

    def __init__(self, channels, hidden=48, code=8, dropout=0.05):
        super().__init__()
        self.encoder = nn.ModuleList([nn.Linear(channels, hidden), nn.Linear(hidden, code)])
        self.decoder = nn.ModuleList([nn.Linear(code, hidden), nn.Linear(hidden, channels)])
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def encode(self, spectra):
        first, second = self.encoder
        return second(self.dropout(torch.relu(self.norm(first(spectra)))))

    def decode(self, code):
        first, second = self.decoder
        return second(torch.relu(first(code)))

    def forward(self, spectra):
        return self.decode(self.encode(spectra))
