"""``python -m tests.bench.memory [HOURS]``: peak memory of ``earwitness transcribe`` on a recording that long."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.settings import Settings
from shared.weights import DEFAULT_MODELS
from tests.bench.quality import through_earwitness
from tests.recordings import long_recording

if __name__ == "__main__":
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with TemporaryDirectory() as folder:
        recording = long_recording(Path(folder) / "long.wav", min_s=hours * 3600)
        row = through_earwitness(recording, DEFAULT_MODELS["transcribe"], Settings().models_dir)
    length = f"{row['audio_s'] / 3600:.2f} h in {row['wall_s']:.0f} s"
    print(f"{length}: peak {row['peak_mb']:.0f} MB over the whole process tree, WER {row['wer']:.3f}")
