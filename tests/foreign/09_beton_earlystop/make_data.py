"""Erzeugt beton.txt (kuenstliche Druckfestigkeiten)."""
import numpy as np

rng = np.random.default_rng(20)
n = 900
zement = rng.uniform(150, 500, n)
wasser = rng.uniform(140, 220, n)
sand = rng.normal(780, 70, n)
kies = rng.normal(960, 80, n)
asche = rng.uniform(0, 180, n) * (rng.random(n) < 0.6)
alter = rng.choice([3, 7, 14, 28, 56, 90, 180], n).astype(float)
f = 34 * (zement / wasser) ** 0.9 * np.log(alter + 1) / np.log(29) / 1.6
f += 0.06 * asche * (alter > 20) + 0.01 * (kies - 960) - 0.008 * (sand - 780)
f += rng.normal(0, 2.0, n)
np.savetxt('beton.txt', np.column_stack([zement, wasser, sand, kies, asche, alter, f]), fmt='%.2f',
           header='zement wasser sand kies asche alter festigkeit')
