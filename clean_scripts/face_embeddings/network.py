"""An embedding network, and the loss that pulls faces towards the proxy of their person."""

from torch import nn


def block(n_in, n_out, p_drop):
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(p_drop)]


class FaceEmbedding(nn.Module):
    """Flat thumbnails (batch, pixels) to points (batch, dim); only distances between them mean something."""

    def __init__(self, pixels, hidden=48, dim=12, p_drop=0.1):
        super().__init__()
        self.body = nn.Sequential(*block(pixels, hidden, p_drop), *block(hidden, hidden, p_drop))
        self.project = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.project(self.body(x))


def proxy_loss(z, who, proxies):
    """Each face shall lie closer to the proxy of its own person than to those of all others."""
    gaps = (z.unsqueeze(1) - proxies).square().sum(dim=2)
    own = gaps.gather(1, who.unsqueeze(1)).squeeze(1)
    return (own + gaps.neg().logsumexp(dim=1)).mean()
