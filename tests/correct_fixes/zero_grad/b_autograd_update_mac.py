# task: zero_grad-machine-2
# mechanism: autograd-grad-update
# about: Gradients come as values from torch.autograd.grad and are never stored on the parameters; a
# about: closure holds the moments of a hand-written AdamW with clipping and exponential decay.

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

SEED = 1337
run_device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class WearGRU(nn.Module):
    def __init__(self, num_inputs, hidden_units=24, dropout=0.1):
        super().__init__()
        self.gru = nn.GRU(num_inputs, hidden_units, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden_units, 1)

    def forward(self, feats):
        seq_out, _ = self.gru(feats)
        return self.readout(self.dropout(seq_out[:, -1])).squeeze(-1)


def adamw(weights, wd, betas=(0.9, 0.999), eps=1e-8, clip_norm=10.0):
    """Returns update(gradients, rate), which changes the weights in place."""
    weights = list(weights)
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    count = 0

    @torch.no_grad()
    def update(gradients, rate):
        nonlocal count
        count += 1
        norm = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
        shrink = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for weight, gradient, (mean, square) in zip(weights, gradients, moments):
            gradient = gradient * shrink
            mean.mul_(betas[0]).add_((1 - betas[0]) * gradient)
            square.mul_(betas[1]).add_((1 - betas[1]) * gradient**2)
            unbiased_mean = mean / (1 - betas[0] ** count)
            unbiased_square = square / (1 - betas[1] ** count)
            weight.mul_(1 - rate * wd)
            weight.sub_(rate * unbiased_mean / (unbiased_square.sqrt() + eps))

    return update


@torch.no_grad()
def predict(estimator, feats):
    estimator.eval()
    return torch.cat([estimator(chunk) for chunk in feats.split(512)])


def mse(guess, truth):
    return (guess - truth).square().mean()


def main(num_epochs=6, bs=32, base_lr=2e-2, lr_gamma=0.65):
    torch.manual_seed(SEED)
    with np.load('data/train.npz') as table:
        row, window, wear = table['row'], table['window'], table['wear']
    with np.load('data/score.npz') as table:
        score_series = table['window']

    order = np.random.default_rng(SEED).permutation(len(row))
    test_idx, dev_idx, train_idx = np.split(order, [len(row) // 5, len(row) // 5 + 3 * len(row) // 20])
    x_centre, x_spread = window[train_idx].mean(axis=(0, 1)), window[train_idx].std(axis=(0, 1))
    y_centre, y_spread = float(wear[train_idx].mean()), float(wear[train_idx].std())

    def feats_of(series):
        return torch.from_numpy((series - x_centre) / x_spread).to(run_device)

    def truth_of(values):
        return torch.from_numpy((values - y_centre) / y_spread).to(run_device)

    x_train, x_dev, x_test = (feats_of(window[idx]) for idx in (train_idx, dev_idx, test_idx))
    y_train, y_dev, y_test = (truth_of(wear[idx]) for idx in (train_idx, dev_idx, test_idx))

    estimator = WearGRU(window.shape[2]).to(run_device)
    weights = list(estimator.parameters())
    update = adamw(weights, wd=1e-3)

    history, least_val_loss, kept_state = [], float('inf'), None
    for epoch in range(1, num_epochs + 1):
        rate = base_lr * lr_gamma ** (epoch - 1)
        estimator.train()
        batch_losses = []
        for take in torch.randperm(len(x_train)).to(run_device).split(bs):
            cost = mse(estimator(x_train[take]), y_train[take])
            update(torch.autograd.grad(cost, weights), rate)
            batch_losses.append(cost.item())
        val_loss = mse(predict(estimator, x_dev), y_dev).item()
        history.append({'epoch': epoch, 'train_loss': float(np.mean(batch_losses)), 'val_loss': val_loss})
        if val_loss < least_val_loss:
            least_val_loss, kept_state = val_loss, copy.deepcopy(estimator.state_dict())
        print('; '.join(f'{name} {value:.4g}' for name, value in history[-1].items()))

    estimator.load_state_dict(kept_state)
    test_pred = predict(estimator, x_test)
    test_loss = mse(test_pred, y_test).item()
    final = {
        'train_loss': history[-1]['train_loss'],
        'val_loss': least_val_loss,
        'test_loss': test_loss,
        'r_squared': 1 - test_loss / y_test.var(unbiased=False).item(),
    }
    print(f"test R^2 {final['r_squared']:.3f}")
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=row[test_idx],
        output=(test_pred * y_spread + y_centre).cpu().numpy(),
        score=(predict(estimator, feats_of(score_series)) * y_spread + y_centre).cpu().numpy(),
    )


if __name__ == '__main__':
    main()
