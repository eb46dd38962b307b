"""Devices: which moves are sites, and which ones nothing depends on."""

from __future__ import annotations

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.mutators.analysis import Script, analyse
from mldebug.mutators.base import mutator
from mldebug.mutators.workspace import Workspace, splice
from mldebug.mutators.wrong_device import WrongDevice

from ..jobs import each_job

LOOP = """\
import torch
import torch.nn.functional as F
from torch import nn

device = torch.device("cuda")
model = nn.Linear(4, 2).to(device)
for x, y in loader:
    x, y = x.to(device), y.to(device)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
"""


def script_of(text: str) -> Script:
    return analyse(Workspace.of({"train.py": text}, "train.py"))


def offered(script: Script, name: str) -> list[str]:
    one = mutator("wrong_device").manifestation(name)
    return [
        splice(script.workspace, one.edits(script, site, choice)).files["train.py"]
        for site in one.sites(script)
        for choice in range(site.choices)
    ]


@each_job("job", __name__)
def test_every_job_offers_several_ways(job: str) -> None:
    script = analyse(Workspace(sources(job), load_job(job).entrypoint))
    assert sum(bool(one.sites(script)) for one in WrongDevice.manifestations) >= 2


def test_one_of_a_pair_is_forgotten_and_the_line_stays_natural() -> None:
    move = "    x, y = x.to(device), y.to(device)\n"
    script = script_of(LOOP)
    assert offered(script, "input_not_moved") == [LOOP.replace(move, "    y = y.to(device)\n")]
    assert offered(script, "target_not_moved") == [LOOP.replace(move, "    x = x.to(device)\n")]


def test_a_value_moved_twice_is_no_site() -> None:
    twice = LOOP.replace("model(x)", "model(x.to(device))")
    assert offered(script_of(twice), "input_not_moved") == []


def test_a_move_that_changes_the_type_too_is_no_site() -> None:
    typed = LOOP.replace("x.to(device)", "x.to(device, torch.float32)")
    assert offered(script_of(typed), "input_not_moved") == []


@pytest.mark.parametrize(
    ("line", "sites"),
    [
        ("mask = torch.ones(3, 4, device=device)\nz = w * mask\n", 1),
        ("order = torch.arange(9, device=device)\nz = w[order]\n", 0),
        ("order = torch.arange(9, device=device)\npick = order[2:4]\nz = w[pick]\n", 0),
        ("scale = torch.tensor(2.0, device=device)\nz = w * scale\n", 0),
        ("mask = torch.ones_like(w, device=device)\nz = w * mask\n", 0),
    ],
)
def test_indices_and_scalars_may_stay_on_the_cpu(line: str, sites: int) -> None:
    assert len(offered(script_of(LOOP + line), "made_on_cpu")) == sites


def test_cpu_is_dropped_only_where_numpy_follows() -> None:
    kept = LOOP + "print(loss.cpu())\n"
    assert offered(script_of(kept), "cpu_dropped") == []
    assert offered(script_of(LOOP + "a = loss.detach().cpu().numpy()\n"), "cpu_dropped") == [
        LOOP + "a = loss.detach().numpy()\n"
    ]
