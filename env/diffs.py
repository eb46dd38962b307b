"""Lines of a text, how one text became another, and that as a unified diff: bounded in time for any texts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from ..mutators.workspace import split_lines

MOST_ALIGNED = 1_000
"""Lines on either side that `difflib` is asked to align; it needs their product."""

Block = tuple[str, int, int, int, int]
"""As `difflib` has them: what, start and end in the old lines, start and end in the new ones."""


def changed_blocks(old: Sequence[str], new: Sequence[str]) -> list[Block]:
    """How lines became others, in order and without gaps: `equal`, `replace`, `delete` and `insert`.

    What stands between the common beginning and end is aligned only where that is cheap.
    """
    most = min(len(old), len(new))
    head = next((at for at in range(most) if old[at] != new[at]), most)
    most -= head
    tail = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    old_end, new_end = len(old) - tail, len(new) - tail
    if max(old_end, new_end) - head <= MOST_ALIGNED:
        matcher = difflib.SequenceMatcher(None, old[head:old_end], new[head:new_end], autojunk=False)
        middle: list[Block] = [
            (tag, old_from + head, old_to + head, new_from + head, new_to + head)
            for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes()
        ]
    else:
        tag = "insert" if head == old_end else "delete" if head == new_end else "replace"
        middle = [(tag, head, old_end, head, new_end)]
    last = ("equal", old_end, len(old), new_end, len(new))
    return [one for one in (("equal", 0, head, 0, head), *middle, last) if one[1] < one[2] or one[3] < one[4]]


def diff_of(path: str, before: str, after: str, context: int = 3) -> str:
    """A change of one file as a unified diff; "" for none."""
    old, new = split_lines(before), split_lines(after)
    blocks = [one for one in changed_blocks(old, new) if one[0] != "equal"]
    if not blocks:
        return ""
    found = [f"--- {'a/' + path if before else '/dev/null'}\n", f"+++ b/{path}\n"]
    for group in _groups(blocks, context):
        first, last = group[0], group[-1]
        above, below = max(0, first[1] - context), min(len(old), last[2] + context)
        new_above, new_below = first[3] - (first[1] - above), last[4] + (below - last[2])
        found.append(f"@@ -{_range(above, below)} +{_range(new_above, new_below)} @@\n")
        done = above
        for _, old_start, old_end, new_start, new_end in group:
            found += [f" {one}" for one in old[done:old_start]]
            found += [f"-{one}" for one in old[old_start:old_end]]
            found += [f"+{one}" for one in new[new_start:new_end]]
            done = old_end
        found += [f" {one}" for one in old[done:below]]
    return "".join(one if one.endswith("\n") else f"{one}\n\\ No newline at end of file\n" for one in found)


def _groups(blocks: Sequence[Block], context: int) -> Iterator[list[Block]]:
    """Changes whose context would meet stand in one hunk."""
    group = [blocks[0]]
    for one in blocks[1:]:
        if one[1] - group[-1][2] > 2 * context:
            yield group
            group = []
        group.append(one)
    yield group


def _range(start: int, end: int) -> str:
    """Lines as a hunk's header states them; an empty range is named by the line before it."""
    return f"{start + 1 if end > start else start},{end - start}"
