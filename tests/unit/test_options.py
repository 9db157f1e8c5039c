"""What may be asked of a job, and what makes no sense."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import PipelineError
from shared.options import MAX_PROMPT_CHARACTERS, JobOptions
from shared.stages import STAGES, check_stages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hotwords": [" "]}, "pattern"),
        ({"hotwords": ["a\nb"]}, "pattern"),
        ({"hotwords": ["x" * 101]}, "at most 100 characters"),
        ({"hotwords": ["x"] * 101}, "at most 100 items"),
        ({"hotwords": ["x" * 99] * 10}, f"more than {MAX_PROMPT_CHARACTERS} characters together"),
        ({"initial_prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "at most 1000 characters"),
        ({"stages": []}, "at least 1 item"),
        ({"stages": ["Transcribe"]}, "pattern"),
        ({"stages": ["transcribe", "attribute"], "num_speakers": 2}, "mean nothing without diarization"),
        ({"stages": ["transcribe", "diarize", "attribute"], "diarize": False}, "which is not wanted"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JobOptions(**options)


@pytest.mark.parametrize(
    ("stages", "left_out"),
    [
        (None, set()),
        (("transcribe", "attribute"), {"diarize", "caption"}),
        (("transcribe", "diarize", "attribute"), {"caption"}),
        (("caption", "attribute", "transcribe"), {"diarize"}),
    ],
)
def test_stages_can_be_chosen_in_any_order(stages: tuple[str, ...] | None, left_out: set[str]) -> None:
    options = JobOptions(stages=stages)
    check_stages(options, STAGES)
    assert {name for name, stage in STAGES.items() if not stage.applies(options)} == left_out


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (("transcribe",), "without attribute there is no transcript"),
        (("diarize",), "without attribute there is no transcript"),
        (("attribute",), "attribute needs transcribe"),
        (("diarize", "attribute"), "attribute needs transcribe"),
        (("transcribe", "caption"), "caption needs attribute"),
        (("transcribe", "attribute", "translate"), "there is no 'translate'; there are transcribe, diarize"),
        (("validate", "transcribe", "attribute"), "there is no 'validate'"),
    ],
)
def test_a_choice_in_which_a_stage_would_wait_for_ever_is_refused(stages: tuple[str, ...], message: str) -> None:
    with pytest.raises(PipelineError, match=message) as refused:
        check_stages(JobOptions(stages=stages), STAGES)
    assert refused.value.code == "request.contradictory"
