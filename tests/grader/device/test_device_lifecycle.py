"""Switching on and off, what a traceback shows, and where the table of checked operators comes from."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
import threading
import traceback
from pathlib import Path

import pytest
import torch

from mldebug.grader import device
from mldebug.grader.device import simulated_accelerator, without_own_frames
from mldebug.grader.device.checked_operators import PLAIN, STRUCTURED

PACKAGE = str(Path(device.__file__).parent)


def test_every_patch_is_taken_back_exactly():
    with simulated_accelerator() as patches:
        targets = patches.targets
    assert len(targets) > 100
    before = [vars(owner).get(name, "absent") for owner, name in targets]
    with simulated_accelerator() as patches:
        assert patches.targets == targets
        during = [vars(owner).get(name, "absent") for owner, name in targets]
    after = [vars(owner).get(name, "absent") for owner, name in targets]
    assert all(old is new for old, new in zip(before, after, strict=True))
    assert all(old is not new for old, new in zip(before, during, strict=True))


def test_no_trace_of_it_is_left():
    with pytest.raises(ZeroDivisionError), simulated_accelerator():
        kept = torch.ones(2, device="cuda")
        raise ZeroDivisionError
    assert not torch.cuda.is_available()
    assert torch._C._len_torch_dispatch_stack() == 0
    assert kept.device.type == "cpu" and kept.numpy().sum() == 2
    assert (kept + torch.ones(2)).tolist() == [2, 2]
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError), match="CUDA"):
        torch.zeros(1, device="cuda")


def test_it_can_be_switched_on_again():
    for _ in range(2):
        with simulated_accelerator():
            assert torch.zeros(1, device="cuda").is_cuda


def program(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_installed_for_good_and_an_uncaught_error_shows_only_the_program():
    done = program(
        """
        from mldebug.grader.device import install
        assert install() is None
        import torch
        model = torch.nn.Linear(2, 2).to("cuda" if torch.cuda.is_available() else "cpu")
        assert model.weight.is_cuda
        print("moved", flush=True)
        model(torch.ones(1, 2))
        """
    )
    assert done.stdout == "moved\n" and done.returncode == 1
    assert 'File "<string>", line' in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "RuntimeError: Expected all tensors to be on the same device"
    )
    assert PACKAGE not in done.stderr and "During handling" not in done.stderr


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: torch.ones(2, device="cuda") + torch.ones(2),
        lambda: torch.ones(2, device="cuda").numpy(),
        lambda: torch.ones(2, 2, device="cuda") @ torch.ones(3, 3, device="cuda"),
        lambda: torch.nn.GRU(2, 2)(torch.ones(1, 1, 2, device="cuda")),
        lambda: torch.ones(2, device="cuda").to("nonsense"),
        lambda: torch.zeros(2, device="cuda:7"),
        lambda: torch.tensor(object(), device="cuda"),
        lambda: torch.ones(2, device="cuda").to(1, 2, 3, 4, 5, 6),
        lambda: torch.ones(2, device="cuda").type("torch.NoTensor"),
        lambda: torch.Generator("nonsense"),
    ],
)
def test_a_printed_traceback_does_not_lead_into_the_simulation(attempt):
    with simulated_accelerator():
        try:
            attempt()
        except Exception as error:
            printed = traceback.format_exc()
            assert without_own_frames(error.__traceback__) is not None
        else:
            pytest.fail("nothing was raised")
    assert PACKAGE not in printed


def test_threads_of_any_make_take_part():
    seen = []

    class Worker(threading.Thread):
        def run(self):
            seen.append((torch.ones(2, device="cuda") * 2).is_cuda)

    with simulated_accelerator():
        worker = Worker()
        worker.start()
        worker.join()
    assert seen == [True]


def test_the_table_of_checked_operators_is_derived_from_torch():
    if importlib.util.find_spec("torchgen") is None or importlib.util.find_spec("yaml") is None:
        pytest.skip("torch's operator list needs torchgen and yaml")
    import torchgen
    from torchgen.gen import get_grouped_native_functions, parse_native_yaml
    from torchgen.model import DeviceCheckType, DispatchKey, NativeFunctionsGroup

    folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
    parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    cuda = parsed.backend_indices[DispatchKey.CUDA]
    structured = set()
    for group in get_grouped_native_functions(parsed.native_functions):
        if isinstance(group, NativeFunctionsGroup) and group.structured and cuda.has_kernel(group.out):
            structured.update(str(one.func.name) for one in group.functions())
    checked = {
        str(one.func.name)
        for one in parsed.native_functions
        if one.device_check == DeviceCheckType.ExactSame
        and (str(one.func.name) in structured or cuda.get_kernel(one) is not None)
    }
    assert checked >= STRUCTURED | PLAIN
    assert structured >= STRUCTURED and not structured & PLAIN
    assert len(STRUCTURED) > 100 and len(PLAIN) > 100
