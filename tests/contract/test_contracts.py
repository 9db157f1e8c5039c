"""The generated contracts: up to date, valid, true, and compatible with every release.

One file: every check is of the same generated documents.
"""

import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from infra.contracts import FOLDER, TERRAFORM, contracts, read_contracts, terraform_contract, write
from shared.errors import CATALOGUE
from shared.events import (
    Event,
    JobCanceled,
    JobDeleted,
    JobExpired,
    JobRetried,
    MediaRejected,
    StageCompleted,
    TranscriptEdited,
    TranscriptVersion,
)
from shared.jobs import Job
from shared.media import MediaLimits
from shared.options import JobOptions
from shared.requests import REPORT, Output, ReportTarget, SignedRequest, StageRequest
from shared.schemas import PUBLISHED, VERSION, event_examples
from shared.transcript import Segment, Speaker, Transcript, Turn, Word
from tests.contract.compatibility import incompatibilities, read_folder, read_texts
from tests.facts import CLAIMED, RECEIVED, START, Story, completed, dispatched, error, failed, progressed

HERE = Path(__file__).parent
TOOLS = HERE / "asyncapi"
RELEASES = sorted(path for path in (HERE / "released").iterdir() if path.is_dir())
DOCUMENTS: dict[str, Any] = read_texts(contracts())
SCHEMAS = [path for path in DOCUMENTS if path.endswith(".schema.json")]


def check(path: str, instance: Any) -> None:
    Draft202012Validator(DOCUMENTS[path]).validate(instance)


# --- the files ---------------------------------------------------------------------------------------------------


def test_the_committed_files_are_those_generated() -> None:
    assert read_contracts(FOLDER) == contracts(), "run `make contracts`"


def test_terraform_knows_what_is_deployed() -> None:
    assert TERRAFORM.read_text("utf-8") == terraform_contract(), "run `make contracts`"


def test_generation_is_deterministic_and_ends_each_file_with_a_line_break() -> None:
    assert contracts() == contracts()
    assert all(text.endswith("}\n") for text in contracts().values())


def test_writing_removes_stale_files_and_leaves_others(tmp_path: Path) -> None:
    stale, other = tmp_path / "events" / "job.forgotten.schema.json", tmp_path / "README.md"
    stale.parent.mkdir()
    stale.write_text("{}")
    (tmp_path / "jobs.proto").write_text("")
    other.write_text("kept")
    write(tmp_path)
    assert read_folder(tmp_path) == DOCUMENTS
    assert other.exists()


def test_the_contracts_have_the_version_of_the_project() -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_schema_is_valid(path: str) -> None:
    Draft202012Validator.check_schema(DOCUMENTS[path])


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_object_is_open_and_described(path: str) -> None:
    document = DOCUMENTS[path]
    assert document["$id"].startswith("urn:earwitness:contracts:")
    for definition in (document, *document.get("$defs", {}).values()):
        assert definition.get("additionalProperties") is not False
        if "properties" in definition:
            assert definition["description"]
            assert "Attributes:" not in definition["description"]


def test_there_is_a_schema_for_each_published_event_and_no_other() -> None:
    assert {path for path in SCHEMAS if "/" in path} == {f"events/{name}.schema.json" for name in PUBLISHED}


def test_all_error_codes_are_listed() -> None:
    assert DOCUMENTS["error_codes.json"].keys() == CATALOGUE.keys()


# --- what is really written --------------------------------------------------------------------------------------


def stories() -> Iterator[Story]:
    yield Story.running().complete()
    yield Story.running(JobOptions(diarize=False)).complete()
    yield Story.begin(None, RECEIVED, MediaRejected(error=error("media.corrupt")))
    yield Story.begin(None, JobExpired())
    failing = Story.running()
    failing.tell(dispatched("diarize"), progressed("transcribe", 0.5, text="so far"), failed("transcribe"))
    failing.wait(60).tell(CLAIMED, failed("diarize", code="media.corrupt"))
    yield failing
    canceled = Story.running()
    canceled.tell(JobCanceled(), JobRetried(), JobDeleted())
    yield canceled
    corrected = Story.running().complete()
    version = TranscriptVersion(
        number=2, at=corrected.now, actor="key_1", change="edited", summary="One segment.", artifacts=()
    )
    corrected.tell(TranscriptEdited(version=version))
    yield corrected


def test_all_events_and_documents_of_real_jobs_are_valid() -> None:
    seen = set()
    for story in stories():
        check("job.schema.json", json.loads(story.job.to_json()))
        for event in story.events:
            check("envelope.schema.json", json.loads(event.to_json()))
            check(f"events/{event.type}.schema.json", json.loads(event.to_json())["data"])
            seen.add(event.type)
    assert seen == PUBLISHED.keys()


def test_a_document_with_a_missing_or_wrong_property_is_not_valid() -> None:
    document = json.loads(Story.running().job.to_json())
    for change in ({"state": "sleeping"}, {"revision": "1"}):
        with pytest.raises(ValidationError):
            check("job.schema.json", document | change)
    del document["tenant_id"]
    with pytest.raises(ValidationError, match="tenant_id"):
        check("job.schema.json", document)


def test_reports_need_only_what_has_no_default() -> None:
    for report in (progressed("transcribe", 0.5), completed("transcribe"), failed("transcribe")):
        check("report.schema.json", json.loads(report.to_json()))
    short = {"type": "stage.completed", "stage": "transcribe", "attempt": 1}
    check("report.schema.json", short | {"a_newer_property": True})
    assert REPORT.validate_python(short) == StageCompleted(stage="transcribe", attempt=1)
    with pytest.raises(ValidationError):
        check("report.schema.json", {"stage": "transcribe", "attempt": 1, "progress": 0.5})


def test_a_stage_request_is_valid() -> None:
    upload = SignedRequest(method="PUT", url="https://storage.example/words.json", headers={"x": "y"})
    request = StageRequest(
        job_id="job_1",
        tenant_id="acme",
        stage="transcribe",
        attempt=1,
        inputs={"media": "https://storage.example/media"},
        outputs=(Output(filename="words.json", upload=upload),),
        options=JobOptions(language="en", num_speakers=2),
        limits=MediaLimits(),
        deadline=START,
        report=ReportTarget(url="https://api.example/report", token="secret"),
    )
    check("stage_request.schema.json", json.loads(request.to_json()))


def test_a_transcript_is_valid() -> None:
    word = Word(text=" Hello", start_s=0.0, end_s=0.5, probability=0.9, speaker="SPEAKER_00")
    transcript = Transcript(
        duration_s=1.0,
        speakers=(Speaker(speaker="SPEAKER_00"),),
        segments=(Segment(start_s=0.0, end_s=0.5, words=(word,), speaker="SPEAKER_00"),),
        turns=(Turn(speaker="SPEAKER_00", start_s=0.0, end_s=1.0),),
    )
    check("transcript.schema.json", json.loads(transcript.to_json()))


# --- compatibility -----------------------------------------------------------------------------------------------


def test_there_is_a_release_to_compare_with() -> None:
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_every_release_is_kept(release: Path) -> None:
    assert incompatibilities(read_folder(release), DOCUMENTS) == []


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_events_of_every_release_are_still_read(release: Path) -> None:
    messages = read_folder(release)["asyncapi.json"]["components"]["messages"].values()
    for message in messages:
        for example in message["examples"]:
            event = Event.from_data(example["payload"])
            assert event.fact.type == event.type == message["name"]


def test_a_newer_job_document_is_read() -> None:
    document = json.loads(Story.running().job.to_json())
    document["a_newer_property"] = document["stages"]["transcribe"]["another"] = {"x": 1}
    assert Job.from_data(document) == Story.running().job


def _remove(path: str, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(documents: dict[str, Any]) -> None:
        parent = documents[path]
        for key in keys[:-1]:
            parent = parent[key]
        if isinstance(parent, list):
            parent.remove(keys[-1])
        else:
            del parent[keys[-1]]

    return change


def _set(path: str, *keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(documents: dict[str, Any]) -> None:
        parent = documents[path]
        for key in keys[:-1]:
            parent = parent[key]
        parent[keys[-1]] = to

    return change


def _add_property(path: str, *definition: str, default: bool) -> Callable[[dict[str, Any]], None]:
    def change(documents: dict[str, Any]) -> None:
        schema = documents[path]
        for key in definition:
            schema = schema[key]
        schema["properties"]["novelty"] = {"type": "string"} | ({"default": ""} if default else {})
        schema["required"].append("novelty")

    return change


def _add_variant(path: str, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(documents: dict[str, Any]) -> None:
        found = documents[path]
        for key in keys:
            found = found[key]
        found.append({"type": "boolean"})

    return change


PROTO = "events.proto"
JOB, REPORTS, FAILED = "job.schema.json", "report.schema.json", "events/job.failed.schema.json"
BREAKS = {
    "document removed": lambda documents: documents.pop("transcript.schema.json"),
    "event type removed": lambda documents: documents.pop(FAILED),
    "event type renamed": _set("asyncapi.json", "components", "messages", "JobFailed", "name", to="job.broken"),
    "message removed": _remove("asyncapi.json", "components", "messages", "JobFailed"),
    "message attribute removed": _remove(
        "asyncapi.json", "components", "messages", "JobFailed", "headers", "properties", "tenant_id"
    ),
    "topic moved": _set("asyncapi.json", "channels", "events", "address", to="facts"),
    "error code removed": _remove("error_codes.json", "media.corrupt"),
    "error status changed": _set("error_codes.json", "media.corrupt", "http_status", to=400),
    "property removed": _remove(JOB, "properties", "tenant_id"),
    "property of a definition removed": _remove(JOB, "$defs", "StageState", "properties", "progress"),
    "property no longer always there": _remove(JOB, "required", "progress"),
    "type changed": _set(JOB, "properties", "revision", "type", to="string"),
    "type of items changed": _set(JOB, "$defs", "Notice", "properties", "code", "type", to="integer"),
    "tag changed": _set(FAILED, "properties", "type", "const", to="job.broken"),
    "format changed": _remove(JOB, "properties", "created_at", "format"),
    "enum value removed": _remove(JOB, "$defs", "JobState", "enum", "expired"),
    "became nullable": _set(JOB, "properties", "filename", to={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "no longer nullable": _set(JOB, "properties", "media", to={"$ref": "#/$defs/Media"}),
    "another type to expect": _add_variant(JOB, "properties", "error", "anyOf"),
    "new property to be given": _add_property(REPORTS, "$defs", "StageCompleted", default=False),
    "new property without default": _add_property(JOB, "$defs", "StageState", default=False),
    "limit of what is read lowered": _set(
        REPORTS, "$defs", "StageProgressed", "properties", "progress", "maximum", to=0
    ),
    "field of the topic's schema renumbered": lambda documents: documents.update(
        {PROTO: documents[PROTO].replace("string subject = 5;", "string subject = 12;")}
    ),
    "kind of report removed": lambda documents: documents[REPORTS]["oneOf"].pop(),
}
ADDITIONS = {
    "nothing": lambda documents: None,
    "document": lambda documents: documents.update({"events/job.paused.schema.json": {"type": "object"}}),
    "error code": _set("error_codes.json", "media.novel", to={"http_status": 422, "retryable": False, "meaning": "x"}),
    "error meaning": _set("error_codes.json", "media.corrupt", "meaning", to="Damaged."),
    "property with default": _add_property(JOB, "$defs", "StageState", default=True),
    "optional property of a report": _set(
        REPORTS, "$defs", "StageFailed", "properties", "novelty", to={"type": "string"}
    ),
    "kind of report": _add_variant(REPORTS, "oneOf"),
    "enum value": lambda documents: documents[JOB]["$defs"]["JobState"]["enum"].append("paused"),
    "description": _set(JOB, "description", to="Better words."),
    "field of the topic's schema": lambda documents: documents.update(
        {PROTO: documents[PROTO].replace("Data data = 11;", "Data data = 11; // all\n  optional string novelty = 12;")}
    ),
    "message": lambda documents: documents["asyncapi.json"]["components"]["messages"].update({"JobPaused": {}}),
    "higher limit of what is read": _set(
        REPORTS, "$defs", "StageProgressed", "properties", "progress", "maximum", to=2.0
    ),
}


@pytest.mark.parametrize("change", BREAKS.values(), ids=BREAKS.keys())
def test_the_comparer_finds_what_breaks(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(DOCUMENTS)
    change(changed)
    assert incompatibilities(DOCUMENTS, changed)


@pytest.mark.parametrize("change", ADDITIONS.values(), ids=ADDITIONS.keys())
def test_the_comparer_allows_additions(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(DOCUMENTS)
    change(changed)
    assert incompatibilities(DOCUMENTS, changed) == []


# --- AsyncAPI ----------------------------------------------------------------------------------------------------


def asyncapi_with(*keys: str, to: Any) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(DOCUMENTS["asyncapi.json"])
    parent = document
    for key in keys[:-1]:
        parent = parent[key]
    parent[keys[-1]] = to
    return document


BROKEN = {
    "wrong version": lambda: asyncapi_with("asyncapi", to="3"),
    "unknown action": lambda: asyncapi_with("operations", "publish", "action", to="shout"),
    "unknown property": lambda: asyncapi_with("channels", "events", "topic", to="events"),
    "no info": lambda: asyncapi_with("info", to=None),
    "wrong binding": lambda: asyncapi_with(
        "components", "messages", "JobFailed", "bindings", "googlepubsub", "orderingKey", to=1
    ),
}
# What only the parser can know, because it follows references. (It leaves examples of 3.0 unchecked; see below.)
MISLEADING = {
    "dangling reference": lambda: asyncapi_with("operations", "publish", "channel", to={"$ref": "#/channels/nowhere"}),
    "message of no channel": lambda: asyncapi_with(
        "operations", "publish", "messages", to=[{"$ref": "#/components/messages/JobFailed"}]
    ),
}


@cache
def official_schema() -> Draft7Validator:
    return Draft7Validator(json.loads((TOOLS / "asyncapi-3.0.0.schema.json").read_text("utf-8")))


def test_the_asyncapi_document_has_the_official_schema() -> None:
    assert [error.message for error in official_schema().iter_errors(DOCUMENTS["asyncapi.json"])] == []


@pytest.mark.parametrize("document", BROKEN.values(), ids=BROKEN.keys())
def test_the_official_schema_refuses_a_broken_document(document: Callable[[], dict[str, Any]]) -> None:
    assert not official_schema().is_valid(document())


def test_the_examples_of_messages_are_valid() -> None:
    document = DOCUMENTS["asyncapi.json"]
    registry: Registry[Any] = Registry().with_resource("urn:doc", DRAFT202012.create_resource(document))
    messages = document["components"]["messages"]
    assert {message["name"] for message in messages.values()} == PUBLISHED.keys()
    for title, message in messages.items():
        for part in ("headers", "payload"):
            schema = {"$ref": f"urn:doc#/components/messages/{title}/{part}"}
            validator = Draft202012Validator(schema, registry=registry)
            for example in message["examples"]:
                validator.validate(example[part])
                assert not validator.is_valid(example[part] | {"type": "job.unheard_of"})


def test_there_is_an_example_of_each_event() -> None:
    assert [example.type for example in event_examples()] == list(PUBLISHED)


def missing(reason: str) -> None:
    """Skip on a user's machine; in CI everything must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def parser_folder(request: pytest.FixtureRequest) -> Path:
    """The official parser, installed once for each lock into pytest's cache."""
    if not (shutil.which("node") and shutil.which("npm")):
        missing("node and npm are needed to run the AsyncAPI parser")
    files = [TOOLS / name for name in ("package.json", "package-lock.json", ".npmrc", "validate.mjs")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    cache_dir: Path = request.config.cache.mkdir("asyncapi_parser")
    folder = cache_dir / digest
    if not folder.exists():
        draft = cache_dir / f"{digest}.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for path in files:
            shutil.copy(path, draft)
        done = subprocess.run(["npm", "ci"], cwd=draft, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            missing(f"npm ci failed: {done.stderr[-500:]}")
        try:
            draft.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(draft)
    return folder


@pytest.fixture(scope="module")
def diagnostics(parser_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """What the parser says of the document and of all that are broken, in one run of node."""
    folder = tmp_path_factory.mktemp("asyncapi")
    documents = {name: make() for name, make in {**BROKEN, **MISLEADING}.items()}
    documents["ours"] = DOCUMENTS["asyncapi.json"]
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    paths = {str(folder / f"{name}.json"): name for name in documents}
    done = subprocess.run(
        ["node", "validate.mjs", *paths], cwd=parser_folder, capture_output=True, text=True, timeout=120, check=True
    )
    return {paths[path]: found for path, found in json.loads(done.stdout).items()}


def test_the_official_parser_accepts_the_document(diagnostics: dict[str, list[dict[str, str]]]) -> None:
    # It informs that a newer AsyncAPI is out; 3.0 is meant.
    assert [found for found in diagnostics["ours"] if found["severity"] in ("error", "warning")] == []


@pytest.mark.parametrize("name", [*BROKEN, *MISLEADING])
def test_the_official_parser_refuses_a_broken_document(name: str, diagnostics: dict[str, list[dict[str, str]]]) -> None:
    assert [found for found in diagnostics[name] if found["severity"] == "error"]


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((TOOLS / "package-lock.json").read_text("utf-8"))
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages
    for package in packages:
        assert "resolved" not in package
        assert re.match(r"sha\d{3}-", package["integrity"])
