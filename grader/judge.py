"""Up to 0.15 more for a solved submission that also says what was wrong.

A diagnosis is free text of an agent that wants the bonus, so the judge is built to be lied to:

- The **offline rubric** (`judges/rubric.py`) is deterministic and always speaks. It asks yes-or-no questions
  of the text (mechanism, cause, place, consequence), and subtracts for each thing blamed that is not wrong.
- An **endpoint**, if one is configured, is a second key (`judges/endpoint.py`): it answers the same
  questions, and one is paid only where both say yes. A model that is talked into "yes" everywhere changes
  nothing. If it fails in any way the rubric's answer stands, and the record says so.
- A text that **addresses the judge** earns nothing (`judges/reading.py`).

What this does not do: a diagnosis in words that the rubric does not know, or not in English, earns little,
even where an endpoint understands it. That is the price of the second key: an endpoint that could pay by
itself could be talked into paying. And since only solved submissions are asked, an agent that learns one good
paragraph per class by heart is paid for it; only the place and the cause need this job to be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .judges.base import Judge, Judgement, Question
from .judges.endpoint import TIMEOUT, EndpointJudge
from .judges.offline import OfflineJudge

__all__ = [
    "DIAGNOSIS_BONUS",
    "TIMEOUT",
    "EndpointJudge",
    "Judge",
    "Judgement",
    "OfflineJudge",
    "Question",
    "default_judge",
]

DIAGNOSIS_BONUS = 0.15
"""The most a diagnosis adds to a solved submission's score (the first seed's figure)."""


def default_judge(environ: Mapping[str, str] = os.environ) -> Judge:
    """The endpoint that the environment names, else the offline rubric.

    `MLDEBUG_JUDGE_BASE_URL` (`http://localhost:8000/v1`) and `MLDEBUG_JUDGE_MODEL` must both be set;
    `MLDEBUG_JUDGE_API_KEY` is sent as a bearer token if it is there.
    """
    base_url = environ.get("MLDEBUG_JUDGE_BASE_URL", "").strip()
    model = environ.get("MLDEBUG_JUDGE_MODEL", "").strip()
    if not base_url or not model:
        return OfflineJudge()
    return EndpointJudge(base_url, model, environ.get("MLDEBUG_JUDGE_API_KEY", "").strip() or None)
