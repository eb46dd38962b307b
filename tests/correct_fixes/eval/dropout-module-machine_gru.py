# task: eval-machine_gru-3
# mechanism: dropout-module
# about: an nn.Dropout module replaces the functional dropout, one evaluate function gives outputs and loss

"""Predict how much wear an inspection will find, from a machine's last sensor readings."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

hiddenunits = 24
droprate = 0.1
minibatch = 32
maxepochs = 6
baselr = 2e-2
l2penalty = 1e-3
lrdecay = 0.65
clipnorm = 10.0
partdev = 0.15
parttest = 0.2
randomstate = 1337

torch.manual_seed(randomstate)
nprng = np.random.default_rng(randomstate)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

class WearEncoder(nn.Module):
    def __init__(self, numsignals, hiddenunits, droprate):
        super().__init__()
        self.state_size = hiddenunits
        self.dropout = nn.Dropout(p=droprate)
        self.rnn = nn.GRU(numsignals, hiddenunits, batch_first=True, bias=True)
        self.readout = nn.Linear(hiddenunits, 1, bias=True)

    def forward(self, values):
        state0 = torch.zeros(
            1,
            values.shape[0],
            self.state_size,
            device=values.device,
        )
        states, _ = self.rnn(values, state0)
        finalstate = self.dropout(states[:, -1])

        return self.readout(finalstate).squeeze(-1)

def minibatches(values, answers, rowseach):
    perm = torch.randperm(values.shape[0]).to(values.device)

    for i in range(0, values.size(0), rowseach):
        pick = perm[i : i + rowseach]
        yield values[pick], answers[pick]

@torch.no_grad()
def infer(learner, values):
    learner.eval()
    return torch.cat([learner(part) for part in values.split(512)], dim=0)

def evaluate(learner, values, answers, lossfunction):
    estimates = infer(learner, values)
    return estimates, lossfunction(estimates, answers).item()

with np.load("data/train.npz") as raw:
    row, window, wear = raw["row"], raw["window"], raw["wear"]
with np.load("data/score.npz", allow_pickle=False) as raw:
    seriesservice = raw["window"]

roworder = nprng.permutation(len(row))
testnum = int(parttest * len(row))
devnum = int(partdev * len(row))
indicestest, indicesdev, indicestrain = np.split(
    roworder,
    [testnum, testnum + devnum],
)

xmean = window[indicestrain].mean(axis=(0, 1))
xstd = window[indicestrain].std(axis=(0, 1))
ymean = float(wear[indicestrain].mean())
ystd = float(wear[indicestrain].std())

def toinputs(w):
    return torch.from_numpy((w - xmean) / xstd).to(device)

def totargets(answers):
    return torch.from_numpy((answers - ymean) / ystd).to(device)

trainx, trainy = toinputs(window[indicestrain]), totargets(wear[indicestrain])
devx, devy = toinputs(window[indicesdev]), totargets(wear[indicesdev])
testx, testy = toinputs(window[indicestest]), totargets(wear[indicestest])
servicex = toinputs(seriesservice)

learner = WearEncoder(window.shape[2], hiddenunits, droprate).to(device)
optim_ = torch.optim.AdamW(
    learner.parameters(),
    lr=baselr,
    weight_decay=l2penalty,
)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optim_, gamma=lrdecay)
lossfunction = nn.MSELoss(reduction="mean")

history = []
bestloss = float("inf")
bestweights = copy.deepcopy(learner.state_dict())

for epoch in range(1, maxepochs + 1):
    learner.train()
    losses = []
    for xbatch, ybatch in minibatches(trainx, trainy, minibatch):
        yhat = learner(xbatch)
        lossvalue = lossfunction(yhat, ybatch)
        optim_.zero_grad(set_to_none=True)
        lossvalue.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), clipnorm)
        optim_.step()
        losses.append(lossvalue.item())
    scheduler.step()

    train_loss = float(np.mean(losses))
    _, val_loss = evaluate(learner, devx, devy, lossfunction)
    history.append(
        dict(epoch=epoch, train_loss=train_loss, val_loss=val_loss),
    )
    if bestloss > val_loss:
        bestloss = val_loss
        bestweights = copy.deepcopy(learner.state_dict())
    print(
        f"epoch {epoch:3d} - fit objective {train_loss:.5f} - dev objective {val_loss:.5f}",
    )

learner.load_state_dict(bestweights)
resulttest, test_loss = evaluate(learner, testx, testy, lossfunction)
r_squared = 1 - test_loss / testy.var(unbiased=False).item()
print(
    f"best dev objective {bestloss:.5f} - test objective {test_loss:.5f} - test R^2 {r_squared:.4f}",
)

with Path("metrics.json").open("w") as handle:
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": bestloss,
        "test_loss": test_loss,
        "r_squared": r_squared,
    }
    json.dump({"history": history, "final": final}, handle)

np.savez(
    "predictions.npz",
    row=row[indicestest],
    output=(resulttest * ystd + ymean).cpu().numpy(),
    score=(infer(learner, servicex) * ystd + ymean).cpu().numpy(),
)
