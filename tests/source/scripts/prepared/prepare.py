import random

random.seed(1)
with open("table.txt", "w") as f:
    for _ in range(80):
        a, b = random.random(), random.random()
        f.write(f"{a} {b} {3 * a - b}\n")
