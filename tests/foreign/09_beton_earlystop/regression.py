# Druckfestigkeit von Beton vorhersagen (Tabelle: beton.txt)
import copy
import json
import os

import numpy as np
import torch
from torch import nn

hier = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(5)
rng = np.random.RandomState(5)

daten = np.loadtxt(os.path.join(hier, 'beton.txt')).astype(np.float32)
x, y = daten[:, :-1], daten[:, -1:]
x[:, -1] = np.log(x[:, -1])        # Alter wirkt logarithmisch
n = len(x)

# --- Aufteilung 70 / 15 / 15 -------------------------------------------------
perm = rng.permutation(n)
n_train, n_val = int(n * 0.70), int(n * 0.15)
i_train = perm[:n_train]
i_val = perm[n_train:n_train + n_val]
i_test = perm[n_train + n_val:]

# --- Standardisierung, nur mit dem Trainingsteil gerechnet ---------------------
x_mittel, x_streu = x[i_train].mean(0), x[i_train].std(0)
y_mittel, y_streu = y[i_train].mean(0), y[i_train].std(0)


def skaliere(a, mittel, streu):
    return torch.from_numpy((a - mittel) / streu)


x_train, y_train = skaliere(x[i_train], x_mittel, x_streu), skaliere(y[i_train], y_mittel, y_streu)
x_val, y_val = skaliere(x[i_val], x_mittel, x_streu), skaliere(y[i_val], y_mittel, y_streu)
x_test = skaliere(x[i_test], x_mittel, x_streu)
y_test = y[i_test]                 # in MPa, unskaliert

# --- Netz ------------------------------------------------------------------------
netz = nn.Sequential(
    nn.Linear(x.shape[1], 64), nn.BatchNorm1d(64), nn.SiLU(), nn.Dropout(0.05),
    nn.Linear(64, 32), nn.SiLU(),
    nn.Linear(32, 1),
)
parameter = list(netz.parameters())
verlust = nn.SmoothL1Loss()
opt = torch.optim.RMSprop(parameter, lr=2e-3)
plan = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=5)

stapel = 63                        # 630 / 63 = 10 volle Stapel
geduld = 10
bester, beste_epoche, bester_zustand = float('inf'), 0, None
verlauf = []

for epoche in range(120):
    netz.train(True)
    reihenfolge = torch.randperm(n_train)
    summe = 0.0
    for k in range(0, n_train, stapel):
        j = reihenfolge[k:k + stapel]
        for p in parameter:
            p.grad = None
        l = verlust(netz(x_train[j]), y_train[j])
        l.backward()
        opt.step()
        summe += float(l.detach()) * len(j)

    netz.train(False)
    with torch.no_grad():
        l_val = float(verlust(netz(x_val), y_val))
    plan.step(l_val)
    verlauf.append({'epoche': epoche, 'train': summe / n_train, 'val': l_val})

    if l_val < bester - 1e-5:
        bester, beste_epoche = l_val, epoche
        bester_zustand = copy.deepcopy(netz.state_dict())
    elif epoche - beste_epoche >= geduld:
        print('Abbruch in Epoche', epoche)
        break
    if epoche % 5 == 0:
        print('Epoche %3d   Training %.5f   Validierung %.5f' % (epoche, summe / n_train, l_val))

netz.load_state_dict(bester_zustand)
netz.eval()
with torch.no_grad():
    vorhersage = netz(x_test).numpy() * y_streu + y_mittel
mae = np.abs(vorhersage - y_test).mean()
r2 = 1 - ((vorhersage - y_test) ** 2).sum() / ((y_test - y_test.mean()) ** 2).sum()
print('beste Epoche %d (%.5f)' % (beste_epoche, bester))
print('Test: MAE %.2f MPa, R2 %.4f' % (mae, r2))

with open(os.path.join(hier, 'verlauf.json'), 'w') as f:
    json.dump(verlauf, f, indent=1)
