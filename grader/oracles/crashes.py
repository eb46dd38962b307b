"""What an exception speaks of, by the message PyTorch gives it. Read from the run, never from its source."""

from __future__ import annotations

import re
from typing import Literal

from ..evidence import Evidence, Run

Family = Literal["device", "shape", "other"]

DEVICE = re.compile(
    r"on the same device|found at least two devices|different from other tensors on"
    r"|not at the same device|indices should be either on"
    r"|can't convert cuda"
    r"|Input type \(torch\.cuda\.\w+\) and \w+ type \((?!torch\.cuda)"
    r"|Input type \((?!torch\.cuda)[\w.]+\) and \w+ type \(torch\.cuda"
    r"|device type for generator|should be a 1D CPU int64 tensor|expected device"
)
"""What PyTorch 2.13 says of devices."""

SHAPE = re.compile(
    r"shapes? cannot be multiplied"
    r"|must match the (size|existing size)|must match exactly"
    r"|Sizes of tensors must match|[Ii]nconsistent tensor size"
    r"|[Ss]ize mismatch|[Ss]hapes? mismatch|shapes? .*(mismatch|does not match|do not match|not aligned)"
    r"|mismatch in its core dimension|different number of (rows|elements|dimensions)"
    r"|expected input\b.* to have \d+ channels"
    r"|[Ee]xpected (input to be )?\d+D|[Ee]xpected \d+D or \d+D|got \d+D"
    r"|[Ee]xpected .*input batch_size"
    r"|is invalid for input of size|cannot reshape array"
    r"|should contain \d+ elements"
    r"|input\.size\(-1\) must be equal to input_size|Expected hidden"
    r"|Target size .* must be the same as input size"
    r"|[Dd]imension (out of range|mismatch)|Dimension specified as|number of dimensions"
    r"|stack expects each tensor to be equal size|must have the same shape|same size"
    r"|Given (groups|normalized_shape|transposed|input size)"
    r"|Expected target size|multi-target not supported|0D or 1D target"
    r"|Expected weight to be a vector|Expected size for first two dimensions"
    r"|[Nn]umber of channels in input"
    r"|not broadcastable|could not (be )?broadcast|does not broadcast"
    r"|index \d+ is out of bounds for (dimension|axis)|doesn't match the broadcast shape"
    r"|output with shape|For (un)?batched"
    r"|Expected more than 1 value per channel|1D tensors expected"
    r"|[Kk]ernel size can't be greater|Output size is too small|expecting embedding dimension"
    r"|too many values to unpack|not enough values to unpack"
)
"""What PyTorch 2.13 and numpy 2 say of sizes, collected by making each of them say it (see the tests)."""


def family(message: str) -> Family:
    """Which kind of fault a message speaks of. Device first: some device messages mention sizes."""
    if DEVICE.search(message):
        return "device"
    return "shape" if SHAPE.search(message) else "other"


def crash_of(run: Run) -> tuple[Family, str] | None:
    """The family and the text of the exception that ended a run, or None where none did."""
    if run.exception is None or run.result.outcome != "error":
        return None
    text = str(run.exception.get("message", ""))
    return family(text), f"{run.exception.get('type', 'Exception')}: {text.splitlines()[0] if text else ''}"


def crashes(evidence: Evidence, wanted: Family) -> list[str] | None:
    """The texts of the exceptions, if every run that was made ended by one of the wanted family."""
    texts = []
    for run in evidence.runs:
        crash = crash_of(run)
        if crash is None or crash[0] != wanted:
            return None
        texts.append(crash[1])
    return texts
