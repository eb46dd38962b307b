"""Metric learning with a triplet network.

A "writer" is a random smooth closed curve; every drawing of it is a noisy,
rotated and scaled copy that starts anywhere on the curve.  We learn an embedding on 60 writers and check, on 20
writers never seen in training, whether the nearest neighbour of a drawing is
another drawing of the same writer.
"""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

N_WRITERS, PER_WRITER, N_POINTS = 80, 10, 20
EMB = 16
STEPS = 250
BATCH = 48

rng = np.random.default_rng(123)
torch.manual_seed(123)


def draw(coefs):
    t = np.linspace(0, 2 * np.pi, N_POINTS, endpoint=False) + rng.uniform(0, 2 * np.pi)
    k = np.arange(1, 5)[:, None]
    c = coefs + rng.normal(0, 0.15, coefs.shape)
    x = (c[0][:, None] * np.cos(k * t) + c[1][:, None] * np.sin(k * t)).sum(0)
    y = (c[2][:, None] * np.cos(k * t) + c[3][:, None] * np.sin(k * t)).sum(0)
    phi, s = rng.normal(0, 0.35), rng.uniform(0.7, 1.3)
    xr = s * (x * np.cos(phi) - y * np.sin(phi))
    yr = s * (x * np.sin(phi) + y * np.cos(phi))
    return np.stack([xr, yr]) * 40 + 100


def build():
    drawings, writer = [], []
    for w in range(N_WRITERS):
        coefs = rng.normal(0, 1, (4, 4)) / np.array([1, 1.5, 2, 2.5])
        for _ in range(PER_WRITER):
            drawings.append(draw(coefs))
            writer.append(w)
    return (torch.tensor(np.array(drawings), dtype=torch.float32),
            torch.tensor(writer))


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(2, 24, 5, padding=2, padding_mode='circular')
        self.b1 = nn.BatchNorm1d(24)
        self.c2 = nn.Conv1d(24, 32, 5, padding=2, padding_mode='circular')
        self.b2 = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(2 * 32, EMB)

    def forward(self, x):
        x = F.avg_pool1d(F.relu(self.b1(self.c1(x))), 2)
        x = F.relu(self.b2(self.c2(x)))
        x = torch.cat([x.mean(2), x.amax(2)], dim=1)      # where the curve starts must not matter
        return F.normalize(self.out(self.drop(x)), dim=1)


drawings, writer = build()

# split by writer, so the test writers are new
writers = rng.permutation(N_WRITERS).tolist()
train_writers, test_writers = writers[:60], writers[60:]
train_mask = torch.tensor([w in set(train_writers) for w in writer.tolist()])
x_train, w_train = drawings[train_mask], writer[train_mask]
x_test, w_test = drawings[~train_mask], writer[~train_mask]

mean = x_train.mean(dim=(0, 2), keepdim=True)
std = x_train.std(dim=(0, 2), keepdim=True)
x_train = (x_train - mean) / std
x_test = (x_test - mean) / std

# row k holds the positions of the drawings by the k-th training writer
members = np.stack([(w_train == w).nonzero().flatten().numpy() for w in train_writers])


def sample_triplets(n):
    k = len(train_writers)
    own = rng.integers(k, size=n)
    other = (own + rng.integers(1, k, size=n)) % k                       # never own
    i = rng.integers(PER_WRITER, size=n)
    j = (i + rng.integers(1, PER_WRITER, size=n)) % PER_WRITER           # never i
    a, p = members[own, i], members[own, j]
    q = members[other, rng.integers(PER_WRITER, size=n)]
    return x_train[a], x_train[p], x_train[q]


def retrieval(x, w):
    """leave-one-out nearest-neighbour accuracy"""
    net.eval()
    with torch.no_grad():
        e = net(x)
        d = torch.cdist(e, e)
        d.fill_diagonal_(float('inf'))
        acc = (w[d.argmin(1)] == w).float().mean().item()
    net.train()
    return acc


net = Embedder()
loss_fn = nn.TripletMarginLoss(margin=0.5)
opt = torch.optim.Adam(net.parameters(), lr=5e-3)

raw = torch.cdist(x_test.flatten(1), x_test.flatten(1)).fill_diagonal_(float('inf'))
print('raw coordinates, accuracy on new writers: %.3f' % (w_test[raw.argmin(1)] == w_test).float().mean())
print('untrained embedding:                     %.3f' % retrieval(x_test, w_test))

net.train()
running = 0.0
for step in range(1, STEPS + 1):
    anchor, positive, negative = sample_triplets(BATCH)
    # one pass through the shared network for all three
    emb = net(torch.cat([anchor, positive, negative]))
    loss = loss_fn(*emb.chunk(3))
    opt.zero_grad(set_to_none=True)
    loss.backward()
    opt.step()
    running += loss.item()
    if step % 50 == 0:
        print('step %4d  triplet loss %.4f  train 1-nn %.3f  new writers 1-nn %.3f' % (
            step, running / 50, retrieval(x_train, w_train), retrieval(x_test, w_test)))
        running = 0.0
