"""Judge what was measured against the bars in policies/: `python -m pipeline.policy NAME ...`.

The stages measure, this judges, and whoever called it speaks: a Violation is data. All violations are found at once,
and what could not be judged is said, as silence would read as consent. A module judges by the policy of its name.
"""

from pipeline.policy.bars import Violation, load, read
from pipeline.policy.behaviour import judge_behaviour, unjudged_behaviour
from pipeline.policy.data import judge_data, unjudged_data
from pipeline.policy.judges import JUDGES, Judge, main
from pipeline.policy.model import judge_model, unjudged_model
from pipeline.policy.service import judge_service
from pipeline.policy.slices import where, words

__all__ = [
    "JUDGES",
    "Judge",
    "Violation",
    "judge_behaviour",
    "judge_data",
    "judge_model",
    "judge_service",
    "load",
    "main",
    "read",
    "unjudged_behaviour",
    "unjudged_data",
    "unjudged_model",
    "where",
    "words",
]
