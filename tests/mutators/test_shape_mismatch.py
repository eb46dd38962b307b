"""Shapes: what is offered where, and what is refused."""

from __future__ import annotations

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.base import mutator
from mldebug.mutators.shape_mismatch import ShapeMismatch
from mldebug.mutators.workspace import Workspace, splice

from ..jobs import each_job

RECURRENT = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        return self.rnn(x)[0]
"""


def script_of(text: str) -> Script:
    return analyse(Workspace.of({"train.py": text}, "train.py"))


def offered(script: Script, name: str) -> list[str]:
    one = mutator("shape_mismatch").manifestation(name)
    return [
        splice(script.workspace, one.edits(script, site, choice)).files["train.py"]
        for site in one.sites(script)
        for choice in range(site.choices)
    ]


@each_job("job", __name__)
def test_every_job_offers_several_ways(job: str) -> None:
    script = analyse(Workspace(sources(job), load_job(job).entrypoint))
    assert sum(bool(one.sites(script)) for one in ShapeMismatch.manifestations) >= 2


def test_batch_first_is_kept_where_dropping_it_would_not_crash() -> None:
    assert offered(script_of(RECURRENT), "batch_first_dropped") == []
    assert offered(script_of(RECURRENT.replace("self.rnn(x)", "self.rnn(x, state)")), "batch_first_dropped")


def test_a_layer_nobody_uses_is_no_site() -> None:
    assert offered(script_of(RECURRENT), "wrong_in_features") == []


@pytest.mark.parametrize(
    ("layer", "wrong"),
    [
        ("nn.Linear(6, 6)", {"12", "3", "7", "5"}),
        ("nn.Linear(1, 1)", {"2", "3"}),
        ("nn.Linear(2 * w, 2 * w)", {"2", "w"}),
        ("nn.Linear(w + 1, w + 1)", {"2 * (w + 1)", "(w + 1) // 2", "(w + 1) + 1"}),
    ],
)
def test_wrong_sizes_never_equal_the_right_one(layer: str, wrong: set[str]) -> None:
    texts = offered(script_of(f"from torch import nn\nlayer = {layer}\n"), "wrong_in_features")
    assert {text.split("Linear(")[1].rsplit(", ", 1)[0] for text in texts} == wrong


def test_convolutions_in_groups_are_left_alone() -> None:
    text = "from torch import nn\nlayer = nn.Conv2d(4, 8, 3, groups=2)\n"
    assert offered(script_of(text), "wrong_channels") == []
    assert offered(script_of(text.replace(", groups=2", "")), "wrong_channels")


PLACES = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, steps, width, channels):
        super().__init__()
        self.place = nn.Embedding(steps, width)
        self.mix = nn.Linear(channels, width)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(torch.relu(self.mix(x) + self.place(torch.arange(x.size(1)))).mean(dim=1))


x = torch.randn(100, 12, 5)
model = Net(x.shape[1], 16, channels=x.shape[2])
other = nn.Embedding(x.shape[1], 4)
"""


def test_an_embedding_with_rows_to_spare_is_no_wrong_shape() -> None:
    """`Net(x.shape[0], ...)` gives it 100 rows where 12 are used, and nothing fails."""
    assert offered(script_of(PLACES), "wrong_data_axis") == [
        PLACES.replace("channels=x.shape[2]", "channels=x.shape[1]"),
        PLACES.replace("channels=x.shape[2]", "channels=x.shape[0]"),
    ]
    also = PLACES.replace("nn.Linear(width, 2)", "nn.Linear(width, steps)")
    assert len(offered(script_of(also), "wrong_data_axis")) == 3
