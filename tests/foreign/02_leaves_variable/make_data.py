# writes leaves.csv : 4 kinds of leaf, 7 measurements each, very different scales
import csv
import numpy as np

rng = np.random.RandomState(7)
names = ['length_mm', 'width_mm', 'area_mm2', 'perimeter_mm', 'teeth', 'weight_mg', 'angle']
centres = np.array([
    [62, 31, 1400, 160, 24, 310, 0.7],
    [80, 28, 1650, 190, 12, 380, 0.5],
    [55, 40, 1550, 165, 30, 300, 1.0],
    [70, 35, 1800, 180, 8, 420, 0.9],
], dtype=float)
spread = np.array([8, 5, 160, 16, 7, 45, 0.18])
rows = []
for k in range(4):
    z = rng.randn(150, 7)
    for r in centres[k] + z * spread:
        rows.append(['%.3f' % v for v in r] + [k])
with open('leaves.csv', 'w') as f:
    w = csv.writer(f)
    w.writerow(names + ['species'])
    w.writerows(rows)
