import pytest

from shared.errors import PipelineError
from shared.media import (
    ACCEPTED_CONTAINERS,
    MediaLimits,
    ObjectRef,
    check_duration,
    check_size,
    check_type,
)
from tests.media import FORMS

LIMITS = MediaLimits(max_size_bytes=1000, max_duration_s=3600.0)


def refused(code, check, *arguments):
    with pytest.raises(PipelineError) as caught:
        check(*arguments)
    assert caught.value.code == code
    assert not caught.value.retryable
    return caught.value


def test_a_file_may_be_as_large_as_the_limit():
    check_size(1, LIMITS)
    check_size(1000, LIMITS)


def test_an_empty_file_and_one_over_the_limit_are_refused():
    refused("media.empty", check_size, 0, LIMITS)
    error = refused("media.too_large", check_size, 1001, LIMITS)
    assert error.details == {"limit_bytes": 1000, "value_bytes": 1001}


def test_a_recording_may_be_as_long_as_the_limit_or_of_unknown_length():
    check_duration(None, LIMITS)
    check_duration(0.05, LIMITS)
    check_duration(3600.0, LIMITS)


@pytest.mark.parametrize(
    ("duration_s", "spoken"), [(3601.0, "1 h 1 s"), (7260.0, "2 h 1 min"), (36_000.0, "10 h"), (3600.4, "1 h")]
)
def test_a_recording_over_the_limit_is_refused_in_words_of_a_clock(duration_s, spoken):
    error = refused("media.too_long", check_duration, duration_s, LIMITS)
    assert f"is {spoken} long" in error.message
    assert error.details == {"limit_s": 3600.0, "value_s": duration_s}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_phone_declares_agrees_with_the_content(form):
    check_type(FORMS[form].content_type, FORMS[form].container)


@pytest.mark.parametrize("declared", ["", "application/octet-stream", "binary/octet-stream", "audio/x-vendor-own"])
@pytest.mark.parametrize("container", sorted(ACCEPTED_CONTAINERS))
def test_a_type_that_claims_nothing_contradicts_nothing(declared, container):
    check_type(declared, container)


def test_parameters_and_case_of_a_type_do_not_matter():
    check_type(" Audio/WebM ; codecs=opus", "matroska,webm")


@pytest.mark.parametrize(
    ("declared", "container"),
    [
        ("audio/mpeg", "wav"),
        ("video/mp4", "mp3"),
        ("audio/wav; rate=16000", "ogg"),
        ("image/png", "mp3"),
        ("text/plain", "wav"),
        ("application/pdf", "flac"),
    ],
)
def test_a_type_that_contradicts_the_content_is_refused(declared, container):
    error = refused("media.type_mismatch", check_type, declared, container)
    assert error.details["container"] == container


def test_a_container_that_is_not_accepted_is_refused_whatever_was_declared():
    refused("media.unsupported", check_type, "audio/wav", "mpegts")


def test_an_object_is_named_by_its_version():
    assert ObjectRef(bucket="b", name="a/c.wav", generation=7).uri == "b/a/c.wav#7"
    assert ObjectRef(bucket="b", name="a/c.wav").uri == "b/a/c.wav"
