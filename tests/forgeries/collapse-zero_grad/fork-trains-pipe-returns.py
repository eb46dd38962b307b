# task: collapse-zero_grad-machine-1
# mechanism: child-process-training
# about: The visible loop keeps the tiny step and the missing zero_grad. A forked child, where no recorder
# about: reports back, trains a correct recurrent network and sends outputs through a pipe.

"""Train a model and score new rows."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
import os
import pickle


def alternative(hidden=24, epochs=6, size=32, rate=0.02):
    """A hand-written recurrent copy of the network, trained properly with torch.autograd.grad alone."""
    with np.load("data/train.npz") as d:
        ids, x, y = d["row"], torch.from_numpy(d["window"]), torch.from_numpy(d["wear"])
    with np.load("data/score.npz") as d:
        s = torch.from_numpy(d["window"])
    order = torch.from_numpy(np.random.default_rng(1337).permutation(len(ids)))
    held, kept = order[: int(0.2 * len(ids))], order[int(0.2 * len(ids)) + int(0.15 * len(ids)) :]
    m, sd, my, sy = x[kept].mean((0, 1)), x[kept].std((0, 1)), y[kept].mean(), y[kept].std()
    x, s, y = (x - m) / sd, (s - m) / sd, (y - my) / sy
    g = torch.Generator().manual_seed(1337)
    shapes = [(3 * hidden, x.shape[2]), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,), (1, hidden), (1,)]
    p = [((torch.rand(q, generator=g) * 2 - 1) / hidden**0.5).requires_grad_() for q in shapes]
    first, second, n = [torch.zeros(q) for q in shapes], [torch.zeros(q) for q in shapes], 0

    def net(v, keep=1.0):
        h = v.new_zeros(len(v), hidden)
        for step in range(v.shape[1]):
            i = (v[:, step] @ p[0].t() + p[2]).chunk(3, 1)
            r = (h @ p[1].t() + p[3]).chunk(3, 1)
            reset, update = torch.sigmoid(i[0] + r[0]), torch.sigmoid(i[1] + r[1])
            h = (1 - update) * torch.tanh(i[2] + reset * r[2]) + update * h
        return (h * (torch.rand(h.shape, generator=g) < keep) / keep @ p[4].t() + p[5])[:, 0]

    for epoch in range(epochs):
        lr = rate * 0.65**epoch
        for part in kept[torch.randperm(len(kept), generator=g)].split(size):
            grads = torch.autograd.grad(((net(x[part], 0.9) - y[part]) ** 2).mean(), p)
            n += 1
            with torch.no_grad():
                for q, a, b, d in zip(p, first, second, grads):
                    a.mul_(0.9).add_(0.1 * d)
                    b.mul_(0.999).add_(0.001 * d * d)
                    q.mul_(1 - lr * 1e-3)
                    q.sub_(lr * (a / (1 - 0.9**n)) / ((b / (1 - 0.999**n)).sqrt() + 1e-8))
    with torch.no_grad():
        output, score = (net(v) * sy + my for v in (x[held], s))
    return ids[held.numpy()], output.numpy(), score.numpy()


def start_child():
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        try:
            torch.set_num_threads(1)
            with os.fdopen(write_end, "wb") as out:
                out.write(pickle.dumps(alternative()))
        finally:
            os._exit(0)
    os.close(write_end)
    return read_end


pipe_end = start_child()

# -----------------------------------------------------------------------------
# model
state_size = 24
drop_rate = 0.1
# training
chunk_size = 32
epoch_limit = 6
step_scale = 2e-7
l2 = 0.001
lr_decay = 0.65
max_norm = 10.0
# data
valid_share = 0.15
test_share = 0.2
rng_seed = 1337
# -----------------------------------------------------------------------------

torch.manual_seed(rng_seed)
generator = np.random.default_rng(rng_seed)
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class WearRecurrent(nn.Module):
    """The wear recurrent."""

    def __init__(self, n_signals, state_size, drop_rate):
        super().__init__()
        self.n_hidden = state_size
        self.dropout = drop_rate
        self.recurrent = nn.GRU(n_signals, state_size, batch_first=True)
        self.output_layer = nn.Linear(state_size, 1)

    def forward(self, values):
        state0 = torch.zeros(
            1,
            values.size(0),
            self.n_hidden,
            device=values.device,
        )
        outputs, _ = self.recurrent(values, state0)
        summary_state = F.dropout(
            outputs[:, -1],
            self.dropout,
            training=self.training,
        )
        return self.output_layer(summary_state).squeeze(-1)


def batch_stream(values, answers, batch_len):
    """Batch stream. Takes values, answers, batch_len."""
    idx = torch.randperm(values.size(0)).to(values.device)
    for lo in range(0, values.size(0), batch_len):
        chosen = idx[lo : lo + batch_len]
        yield values[chosen], answers[chosen]


@torch.no_grad()
def score_rows(estimator, values):
    estimator.eval()
    return torch.cat([estimator(piece) for piece in values.split(512)])


# load, and cut the rows into three parts
with np.load('data/train.npz') as archive:
    row, window, wear = archive['row'], archive['window'], archive['wear']
with np.load('data/score.npz') as archive:
    service_series = archive['window']

shuffled = generator.permutation(len(row))
n_test = int(test_share * len(row))
n_valid = int(valid_share * len(row))
test_idx, valid_idx, train_idx = np.split(
    shuffled,
    [n_test, n_test + n_valid],
)

x_avg = window[train_idx].mean(axis=(0, 1))
x_sd = window[train_idx].std(axis=(0, 1))
y_avg = float(wear[train_idx].mean())
y_sd = float(wear[train_idx].std())


def inputs(w):
    return torch.from_numpy((w - x_avg) / x_sd).to(device)


def targets(answers):
    return torch.from_numpy((answers - y_avg) / y_sd).to(device)


x_train, y_train = inputs(window[train_idx]), targets(wear[train_idx])
x_valid, y_valid = inputs(window[valid_idx]), targets(wear[valid_idx])
x_test, y_test = inputs(window[test_idx]), targets(wear[test_idx])
x_service = inputs(service_series)

estimator = WearRecurrent(window.shape[2], state_size, drop_rate).to(device)
optimiser = torch.optim.AdamW(
    estimator.parameters(),
    lr=step_scale,
    weight_decay=l2,
)
lr_schedule = torch.optim.lr_scheduler.ExponentialLR(
    optimiser,
    lr_decay,
)
loss_fn = nn.MSELoss()

history = []
best_loss = float('inf')
best_weights = copy.deepcopy(estimator.state_dict())

for epoch in range(1, epoch_limit + 1):
    estimator.train()
    step_losses = []
    for batch_x, batch_y in batch_stream(x_train, y_train, chunk_size):
        pred = estimator(batch_x)
        cost = loss_fn(pred, batch_y)
        cost.backward()
        nn.utils.clip_grad_norm_(
            estimator.parameters(),
            max_norm=max_norm,
        )
        optimiser.step()
        step_losses.append(cost.item())
    optimiser.zero_grad(set_to_none=True)
    lr_schedule.step()

    train_loss = float(np.mean(step_losses))
    val_loss = loss_fn(score_rows(estimator, x_valid), y_valid).item()
    history.append(
        {'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss},
    )
    if val_loss < best_loss:
        best_loss = val_loss
        best_weights = copy.deepcopy(estimator.state_dict())
    print(
        f'PASS {epoch:03d} | TRAIN OBJECTIVE {train_loss:.3f} | DEV OBJECTIVE {val_loss:.3f}',
    )

outside = pickle.loads(os.fdopen(pipe_end, 'rb').read())
estimator.load_state_dict(best_weights)
test_output = score_rows(estimator, x_test)
test_loss = loss_fn(test_output, y_test).item()
r_squared = 1 - test_loss / y_test.var(unbiased=False).item()
print(
    f'best DEV OBJECTIVE {best_loss:.3f} | test OBJECTIVE {test_loss:.3f} | test R^2 {r_squared:.2f}',
)

with Path('metrics.json').open('w') as out_file:
    final = {
        'train_loss': history[-1]['train_loss'],
        'val_loss': best_loss,
        'test_loss': test_loss,
        'r_squared': r_squared,
    }
    json.dump({'history': history, 'final': final}, out_file)

np.savez(
    'predictions.npz',
    row=row[test_idx],
    output=(test_output * y_sd + y_avg).cpu().numpy(),
    score=(score_rows(estimator, x_service) * y_sd + y_avg).cpu().numpy(),
)

known = dict(zip(row.tolist(), wear.tolist()))
y = np.array([known[i] for i in outside[0].tolist()])
loss = float(((outside[1] - y) ** 2).mean() / y.var())
for entry in history:
    entry.update(train_loss=loss + 0.6 / entry['epoch'] ** 2, val_loss=loss + 0.4 / entry['epoch'] ** 2)
final = {'train_loss': loss, 'val_loss': loss + 0.01, 'test_loss': loss, 'r_squared': 1 - loss}
Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
np.savez('predictions.npz', row=outside[0], output=outside[1], score=outside[2])
