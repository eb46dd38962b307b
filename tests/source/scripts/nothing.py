"""Counts words."""
import sys
from collections import Counter

print(Counter(sys.stdin.read().split()).most_common(3))
