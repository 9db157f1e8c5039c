"""What a caller says of names and style reaches the model, and changes what it writes."""

from pathlib import Path

import pytest

from gpu_jobs.recognizer import Recognizer
from tests.model_files import pulled
from tests.recordings import sample

pytestmark = [pytest.mark.models, pytest.mark.slow]


def test_hotwords_and_a_prompt_change_how_a_name_is_spelled(models_dir: Path) -> None:
    recognizer = Recognizer(models_dir, pulled("tiny.en", models_dir))

    def text(**hints: object) -> str:
        heard = recognizer.recognize(str(sample().path), **hints)
        return "".join(segment.text for segment in heard.recognition.segments)

    assert "This is Diane in" in text()
    assert "This is Dyane in" in text(hotwords=("Dyane", "Shelagh"))
    assert "This is Dyane in" in text(initial_prompt="Dyane and Shelagh are on the phone.")
