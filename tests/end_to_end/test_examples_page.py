"""The example page in a real browser: a bad line, a reload, a job that is followed, a transcript that is heard."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, CDPSession, Page, Request, ViewportSize, expect

from infra.local.cloud import LocalCloud
from tests.browser import chromium, files_served
from tests.clouds import Phone, behave, standin_cloud
from tests.media import encode, tone

PAGE = Path(__file__).parents[2] / "infra" / "examples" / "page"
SECONDS = 80.0
WORDS = 120
# So that an upload can be cut in its middle, however slow the machine is at it: one slice a second, then a crawl.
SLOW, CRAWLING = 500_000, 50_000
UNLIMITED = -1
FULL, PHONE = ViewportSize(width=1100, height=900), ViewportSize(width=375, height=740)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with files_served(PAGE) as url:
        yield url


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "talk.wav"
    path.write_bytes(encode("wav", tone(SECONDS)))
    return path


@pytest.fixture
def cloud(tmp_path: Path, site: str) -> Iterator[LocalCloud]:
    with standin_cloud(tmp_path, cors_origins=(site,), stream_max_s=1.0) as cloud:
        yield cloud


@dataclass
class Visit:
    """A person in front of the page."""

    page: Page
    session: CDPSession
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def limit(self, *, offline: bool = False, upload: float = UNLIMITED) -> None:
        """What the line does from now on, to requests that are under way too."""
        conditions = {"offline": offline, "latency": 0, "downloadThroughput": UNLIMITED, "uploadThroughput": upload}
        self.session.send("Network.emulateNetworkConditions", conditions)

    def open(self, site: str, cloud: LocalCloud, token: str = "") -> None:
        self.page.goto(f"{site}/?api={cloud.url}")
        self.page.get_by_label("API key").fill(token or cloud.owner_token)

    def choose(self, path: Path) -> None:
        self.page.locator("#file").set_input_files(path)
        self.page.get_by_role("button", name="Transcribe").click()

    def sent(self, method: str, part: str) -> list[Request]:
        return [request for request in self.requests if request.method == method and part in request.url]

    @property
    def ranges(self) -> list[str]:
        """Of the slices sent so far, and of the questions how much has arrived."""
        return [request.headers["content-range"] for request in self.sent("PUT", "/_session/")]


@contextmanager
def visiting(browser: Browser) -> Iterator[Visit]:
    context = browser.new_context(viewport=FULL)
    page = context.new_page()
    visit = Visit(page, context.new_cdp_session(page))
    visit.session.send("Network.enable")
    visit.page.on("request", lambda request: visit.requests.append(request))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type != "log" else None)
    try:
        yield visit
    finally:
        context.close()


def wait_for_partial_text(page: Page, text: str) -> None:
    # In the page itself, which sees it in time on a slow machine, too.
    page.wait_for_function("text => document.querySelector('#partial').textContent === text", arg=f"… {text}")
    assert page.locator("#partial").is_visible()


def expect_transcript(visit: Visit) -> None:
    expect(visit.page.get_by_role("region", name="Transcript")).to_be_visible(timeout=20_000)


def test_a_recording_goes_over_a_line_that_breaks_and_a_page_that_is_reloaded(
    browser: Browser, site: str, cloud: LocalCloud, talk: Path, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    total = talk.stat().st_size
    assert 2_000_000 < total < 3_000_000
    behave(tmp_path, transcribe={"sleep_s": 2, "words": WORDS, "partial": "so far so good"}, diarize={"words": WORDS})
    with visiting(browser) as visit:
        page = visit.page
        visit.open(site, cloud)
        visit.limit(upload=SLOW)
        visit.choose(talk)
        expect(page.locator("#status")).to_have_text(re.compile(r"Uploading talk\.wav: [1-9]"), timeout=10_000)
        visit.limit(offline=True)
        expect(page.locator("#status")).to_contain_text("No connection")
        visit.limit(upload=CRAWLING)
        expect(page.locator("#status")).to_contain_text("Uploading", timeout=10_000)

        visit.limit(offline=True)
        expect(page.locator("#status")).to_contain_text("No connection")
        visit.limit(upload=CRAWLING)
        page.reload()
        before = len(visit.ranges)
        visit.limit()
        expect(page.locator("#unfinished")).to_contain_text("talk.wav has arrived to")
        assert page.get_by_label("API key").input_value() == cloud.owner_token
        visit.choose(talk)
        wait_for_partial_text(page, "so far so good")
        assert page.locator("#stages .running").count()
        page.screenshot(path=tmp_path / "following.png")
        expect_transcript(visit)

        assert visit.ranges[before] == f"bytes */{total}"
        starts = [int(found[1]) for text in visit.ranges[before:] if (found := re.match(r"bytes (\d+)-", text))]
        assert starts[0] > 0, "it began at the start again"
        assert visit.ranges[:before].count(f"bytes */{total}") >= 2  # at first, and after the break
        assert len(visit.sent("POST", "/v1/jobs")) == len(visit.sent("POST", "/storage/")) == 1
        streams = visit.sent("GET", "/events")
        resumed = [int(request.headers["last-event-id"]) for request in streams[1:]]
        assert resumed and resumed == sorted(resumed), "the stream was not resumed"
        tell(f"{total} bytes in {len(starts)} slices after the reload, from byte {starts[0]} on")

        phone = Phone(cloud.url, cloud.owner_token)
        ((job),) = phone.client.get("/v1/jobs").json()["data"]
        assert job["size_bytes"] == total and job["state"] == "completed"
        transcript = phone.client.get(f"/v1/jobs/{job['job_id']}/transcript").json()
        spoken = [word["text"].strip() for segment in transcript["segments"] for word in segment["words"]]
        assert page.locator("#transcript p span").all_inner_texts() == spoken
        assert page.locator("#transcript h3").all_inner_texts()[:2] == ["SPEAKER_00", "SPEAKER_01"]
        page.screenshot(path=tmp_path / "transcript.png")
        _can_be_listened_to_and_downloaded(page, phone, job["job_id"])
        assert page.evaluate("Object.keys(localStorage)") == []
        assert [line for line in visit.complaints if "ERR_INTERNET_DISCONNECTED" not in line] == []


def _can_be_listened_to_and_downloaded(page: Page, phone: Phone, job_id: str) -> None:
    page.wait_for_function("document.querySelector('audio').readyState > 0")
    page.get_by_text("word31", exact=True).click()
    page.wait_for_function("document.querySelector('audio').currentTime >= 15.5")
    expect(page.locator(".now")).to_have_text(re.compile(r"word\d+"))
    page.get_by_role("button", name="Play from 00:05").press("Enter")
    page.wait_for_function("document.querySelector('audio').currentTime < 10")
    for name in ("SRT", "VTT"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == f"talk.{name.lower()}"
        asked = phone.client.get(f"/v1/jobs/{job_id}/transcript", params={"format": name.lower()})
        assert Path(download.value.path()).read_bytes() == asked.content


def test_a_reloaded_page_goes_on_following_and_fits_in_light_and_dark_and_on_a_phone(
    browser: Browser, site: str, cloud: LocalCloud, talk: Path, tmp_path: Path
) -> None:
    behave(tmp_path, transcribe={"sleep_s": 2, "words": WORDS}, diarize={"words": WORDS})
    with visiting(browser) as visit:
        page = visit.page
        visit.open(site, cloud)
        visit.choose(talk)
        wait_for_partial_text(page, "half of it")
        page.reload()
        expect_transcript(visit)
        expect(page.get_by_text("Choose the same file above")).to_be_visible()
        page.locator("#file").set_input_files(talk)
        expect(page.get_by_label("The recording")).to_be_visible()
        looks: list[tuple[Literal["light", "dark"], ViewportSize]] = [("light", FULL), ("dark", FULL), ("dark", PHONE)]
        grounds = set()
        for scheme, size in looks:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            page.screenshot(path=tmp_path / f"{scheme}-{size['width']}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        assert visit.complaints == []


def test_what_goes_wrong_is_said(browser: Browser, site: str, cloud: LocalCloud, tmp_path: Path) -> None:
    text = tmp_path / "no recording <b>.wav"
    text.write_bytes(b"this is no recording" * 100)
    empty = tmp_path / "empty.wav"
    empty.touch()
    with visiting(browser) as visit:
        page, alert = visit.page, visit.page.get_by_role("alert")
        visit.open(site, cloud, token="ew_live_wrong")
        visit.choose(text)
        expect(alert).to_contain_text("The API does not know this key")
        page.screenshot(path=tmp_path / "error.png")
        page.get_by_label("API key").fill(cloud.owner_token)
        visit.choose(empty)
        expect(alert).to_have_text("empty.wav is empty.")
        visit.choose(text)
        expect(alert).to_contain_text("The recording was not accepted", timeout=15_000)
        changing = tmp_path / "changing.wav"
        changing.write_bytes(bytes(1_000_000))
        visit.limit(upload=CRAWLING)
        visit.choose(changing)
        expect(page.locator("#status")).to_contain_text("Uploading changing.wav: 0 %", timeout=15_000)
        changing.write_bytes(bytes(1_000_001))
        visit.limit(offline=True)
        expect(alert).to_have_text("changing.wav can no longer be read; choose it again.")
        assert [line for line in visit.complaints if "Failed to load resource" not in line] == []


def test_nothing_that_was_said_becomes_a_part_of_the_page(
    browser: Browser, site: str, cloud: LocalCloud, talk: Path, tmp_path: Path
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    words = [{"text": f" {evil}", "start_s": 0.0, "end_s": 0.4, "probability": 0.9}]
    heard = {"language": "en", "duration_s": 1.0, "segments": [{"start_s": 0.0, "end_s": 0.4, "words": words}]}
    behave(tmp_path, transcribe={"writes": json.dumps(heard), "sleep_s": 0.1, "partial": evil})
    with visiting(browser) as visit:
        visit.page.on("dialog", lambda dialog: visit.complaints.append(dialog.message))
        visit.open(site, cloud)
        visit.choose(talk)
        expect_transcript(visit)
        expect(visit.page.locator("#transcript span")).to_have_text(evil)
        assert visit.page.locator("img").count() == 0
        assert visit.complaints == []


def test_a_page_of_another_origin_is_kept_out(browser: Browser, cloud: LocalCloud, talk: Path) -> None:
    with files_served(PAGE) as other, visiting(browser) as visit:
        visit.open(other, cloud)
        visit.choose(talk)
        expect(visit.page.locator("#status")).to_contain_text("does it allow pages of", timeout=10_000)
    assert Phone(cloud.url, cloud.owner_token).client.get("/v1/jobs").json()["data"] == []
