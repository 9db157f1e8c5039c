"""Why a file is not accepted: the error code, and the sentence for whoever uploaded it from a phone."""


class Refusal(Exception):
    """A file that is not accepted, or that could not be reached.

    Plain text instead of a ``PipelineError``: the process that probes imports as little as it can.

    Attributes:
        code: A code of ``shared.errors.CATALOGUE``.
        sentence: What to tell the person; no path, no URL.
    """

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__(f"{code}: {sentence}")


EMPTY = ("media.empty", "The file is empty: nothing was recorded or the upload was cut off.")
PICTURE = ("media.unsupported", "This is a picture, not a recording.")
DOCUMENT = ("media.unsupported", "This is a document, not a recording.")
ARCHIVE = ("media.unsupported", "This is an archive, not a recording. Unpack it and send the recording itself.")
PLAYLIST = ("media.unsupported", "This is a playlist, not a recording. Send the recording itself.")
NOT_A_RECORDING = (
    "media.unsupported",
    "This is not a recording in a format that is accepted. Send it as M4A, MP3, WAV, MP4 or another common format.",
)
UNKNOWN_CODEC = ("media.unsupported", "The sound in this file is in a format that cannot be read.")
OVERSIZED_FRAMES = (
    "media.unsupported",
    "The sound in this file is in blocks too large to be read. Save it again with a usual block size, or as WAV.",
)
UNHEARD_OF = (
    "media.unsupported",
    "The sound in this file has a sample rate or a number of channels that no recording has.",
)
SILENT_VIDEO = ("media.no_audio", "This video has no sound.")
NO_AUDIO = ("media.no_audio", "This file has no sound track.")
ZERO_LENGTH = ("media.zero_length", "The recording is zero seconds long: there is no sound in it.")
ENCRYPTED = ("media.encrypted", "The recording is protected against copying, so it cannot be read.")
CUT_OFF = ("media.corrupt", "The file is cut off: its end is missing. Please send it again.")
UNFINISHED = ("media.corrupt", "The recording was never finished: the device stopped before it saved the whole file.")
DAMAGED = ("media.corrupt", "The file is damaged and cannot be played.")
TOO_SLOW = ("media.corrupt", "The file could not be read in reasonable time, so it is probably damaged.")
TOO_INTRICATE = (
    "media.corrupt",
    "The file is damaged, or holds many thousands of tags: it takes too long to read. Save it again without them.",
)
NOT_FOUND = ("object.not_found", "The file is not there.")
UNREACHABLE = ("service.unavailable", "The file could not be fetched from its store.")
