// Uploads a recording, follows its job and shows the transcript. No library and no build step: three protocols,
// each in a few lines, to be copied from.

const SLICE_BYTES = 256 * 1024; // of which every slice but the last must be a multiple
const MAX_SLICE_BYTES = 16 * 1024 * 1024;
const MAX_PAUSE_MS = 30_000;
const SILENT_MS = 45_000; // the stream says something every 15 s
const FORMATS = ["srt", "vtt", "txt"];
const SENTENCES = {
  awaiting_upload: "Uploaded",
  validating: "Checking the recording",
  running: "Transcribing",
  completed: "Done",
  rejected: "The recording was not accepted",
  failed: "It could not be transcribed",
  canceled: "The job was canceled",
  expired: "The upload came too late",
  deleted: "The job was deleted",
};

const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => {
  setTimeout(resolve, ms);
  addEventListener("online", resolve, { once: true });
});

/** What cannot be helped by trying again, said for the person in front of the page. */
class Refused extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** A request whose failures are of three kinds: to be tried again (no answer, 429, 5xx), `Refused`, none. */
async function request(url, init = {}) {
  for (let wait = 500; ; wait = Math.min(wait * 2, MAX_PAUSE_MS)) {
    const response = await fetch(url, init).catch(() => null);
    if (response?.ok || response?.status === 308) return response;
    if (response && response.status !== 429 && response.status < 500) throw await refusal(response);
    if (init.once) throw new Error("The request was not answered.");
    const { host } = new URL(url);
    // A page cannot tell a broken line from an API that does not allow it to call.
    const hint = wait > 1000 ? ` (is that its address, and does it allow pages of ${location.origin}?)` : "";
    say(response ? "The service is busy; trying again" : `No connection to ${host}; trying again${hint}`);
    await pause(1000 * Number(response?.headers.get("retry-after")) || wait);
  }
}

async function refusal(response) {
  const text = await response.text();
  let message = `The answer was ${response.status}.`;
  try {
    message = JSON.parse(text).detail ?? message; // application/problem+json
  } catch {
    message = new DOMParser().parseFromString(text, "text/xml").querySelector("Message")?.textContent ?? message;
  }
  return new Refused(message, response.status);
}

// ---- The API. In an app of yours these call your own backend, which knows the key.

const api = (path, init = {}) =>
  request(new URL(path, byId("api").value), {
    ...init,
    headers: { authorization: `Bearer ${byId("key").value.trim()}`, ...init.headers },
  });

/** The same key gets the same job, however often the answer was lost. */
async function createJob(file, idempotencyKey) {
  const response = await api("/v1/jobs", {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": idempotencyKey },
    body: JSON.stringify({
      filename: file.name,
      content_type: file.type || "application/octet-stream",
      size_bytes: file.size,
      upload: "resumable",
    }),
  });
  return response.json();
}

// ---- Resumable upload: the protocol of Cloud Storage.

/** Opens a session; its address needs no further signature. The browser must do this: its origin is kept with it. */
async function openSession(upload) {
  const response = await request(upload.url, { method: upload.method, headers: upload.headers });
  return response.headers.get("location");
}

/** Sends one slice, or none to ask, and returns how many bytes have arrived. */
async function put(session, file, start, end) {
  const range = end > start ? `${start}-${end - 1}` : "*";
  const headers = { "content-range": `bytes ${range}/${file.size}` };
  const body = end > start ? file.slice(start, end) : undefined;
  const response = await request(session, { method: "PUT", headers, body, once: end > start });
  if (response.ok) return file.size;
  const arrived = response.headers.get("range"); // none where nothing has
  return arrived ? Number(arrived.split("-")[1]) + 1 : 0;
}

async function upload(session, file, tell) {
  let size = SLICE_BYTES;
  let sent = await put(session, file, 0, 0);
  tell(sent);
  while (sent < file.size) {
    const began = performance.now();
    try {
      sent = await put(session, file, sent, Math.min(sent + size, file.size));
      // As large as goes in about a second: little is lost with the connection, and few answers are waited for.
      if (performance.now() - began < 1000) size = Math.min(size * 2, MAX_SLICE_BYTES);
    } catch (error) {
      if (error instanceof Refused) throw error;
      await readable(file);
      say("The connection broke; going on where it did");
      size = SLICE_BYTES;
      await pause(500);
      sent = await put(session, file, 0, 0);
    }
    tell(sent);
  }
}

/** A file that was changed or removed since breaks its requests just as the network does. */
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refused(`${file.name} can no longer be read; choose it again.`);
  }
}

// ---- Server-Sent Events by fetch, which can send a header where EventSource cannot.

/** Calls `tell` with each status document until the job has ended. */
async function follow(jobId, tell) {
  for (let last = ""; ;) {
    const stop = new AbortController();
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENT_MS);
    };
    const headers = last ? { "last-event-id": last } : {};
    const response = await api(`/v1/jobs/${encodeURIComponent(jobId)}/events`, { headers, signal: stop.signal });
    if (response.status === 204) return;
    try {
      for await (const event of events(response.body, heard)) {
        last = event.id || last;
        if (event.name === "status") tell(JSON.parse(event.data));
        if (event.name !== "end") continue;
        if (JSON.parse(event.data).state === "deleted") throw new Refused(`${SENTENCES.deleted}.`, 404);
        return;
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    } finally {
      clearTimeout(silence);
      stop.abort();
    }
    await pause(1000); // it broke off, as every stream does after some minutes
  }
}

async function* events(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (heard(); ; heard()) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", id: "", data: "" };
      for (const line of block.split("\n")) {
        const [, field, content] = line.match(/^([^:]*): ?(.*)$/) ?? [];
        if (field === "event") event.name = content;
        if (field === "id") event.id = content;
        if (field === "data") event.data += content;
      }
      if (event.data) yield event;
    }
  }
}

// ---- What is kept over a reload: unfinished uploads and the job that is followed, never the recording.

const STORE = "earwitness:";
const nameOf = (file) => `${STORE}${file.name}:${file.size}:${file.lastModified}`;
const load = (name) => JSON.parse(localStorage.getItem(name) ?? "null");
const save = (name, entry) => localStorage.setItem(name, JSON.stringify(entry));

function* kept() {
  for (const name of Object.keys(localStorage)) if (name.startsWith(STORE)) yield [name, load(name)];
}

// ---- The page.

let spoken = []; // words with their elements, in order of time
let shownName = ""; // under which name the recording was kept whose transcript is shown

function say(sentence) {
  byId("status").textContent = `${sentence} …`;
}

function fail(error) {
  byId("error").textContent = error.status === 401 ? `The API does not know this key. ${error.message}` : error.message;
  byId("error").hidden = false;
}

async function busy(act) {
  byId("error").hidden = true;
  byId("unfinished").hidden = true;
  byId("start").disabled = true;
  byId("work").hidden = false;
  try {
    await act();
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    fail(error);
  } finally {
    byId("start").disabled = false;
    byId("work").hidden = true;
    showUnfinished();
  }
}

async function transcribe(file) {
  if (!file.size) throw new Refused(`${file.name} is empty.`);
  const name = nameOf(file);
  const entry = load(name) ?? { filename: file.name, size: file.size, key: crypto.randomUUID(), sent: 0 };
  save(name, entry); // before the job is made, so that it is made once
  show("result", false);
  byId("stages").replaceChildren();
  byId("partial").hidden = true;
  if (!entry.isUploaded) {
    say("Starting");
    try {
      if (!entry.session) {
        const created = await createJob(file, entry.key);
        entry.jobId = created.job.job_id;
        if (created.upload) entry.session = await openSession(created.upload);
        save(name, entry);
      }
      if (entry.session) await upload(entry.session, file, (sent) => {
        entry.sent = sent;
        save(name, entry);
        byId("bar").value = sent / file.size;
        say(`Uploading ${file.name}: ${percent(sent / file.size)} of ${amount(file.size)}`);
      });
    } catch (error) {
      // Nothing more can come of this one: it was refused, has expired or is unknown.
      if (error instanceof Refused && error.status && error.status !== 401) localStorage.removeItem(name);
      throw error;
    }
    entry.isUploaded = true;
    save(name, entry);
  }
  await watch(name, entry, file);
}

async function watch(name, entry, file) {
  let job = null;
  say(SENTENCES.awaiting_upload);
  try {
    await follow(entry.jobId, (now) => {
      job = now;
      showJob(job);
    });
  } catch (error) {
    if (error.status === 404) localStorage.removeItem(name);
    throw error;
  }
  localStorage.removeItem(name);
  if (job.state !== "completed") throw new Refused(`${SENTENCES[job.state]}. ${job.error?.message ?? ""}`);
  await showTranscript(job);
  shownName = name;
  listenTo(file);
}

function showJob(job) {
  byId("status").textContent = SENTENCES[job.state] + (job.state === "running" ? `: ${percent(job.progress)}` : " …");
  byId("bar").value = job.progress;
  byId("partial").textContent = `… ${job.partial_text.trim()}`;
  byId("partial").hidden = !job.partial_text;
  byId("stages").replaceChildren(
    ...Object.entries(job.stages).filter(([, stage]) => stage.state !== "skipped").map(([name, stage]) => {
      const part = stage.state === "running" && stage.progress ? ` ${percent(stage.progress)}` : "";
      const item = element("li", { className: stage.state, textContent: name.replaceAll("_", " ") + part });
      item.title = stage.error?.message ?? stage.state;
      return item;
    }),
  );
}

async function showTranscript(job) {
  const path = `/v1/jobs/${encodeURIComponent(job.job_id)}/transcript`;
  const transcript = await (await api(path)).json();
  // A link cannot send the key.
  const links = await Promise.all(FORMATS.map(async (format) => {
    const content = await (await api(`${path}?format=${format}`)).blob();
    const download = `${job.filename.replace(/\.[^.]*$/, "") || job.job_id}.${format}`;
    return element("a", { href: URL.createObjectURL(content), download, textContent: format.toUpperCase() });
  }));
  byId("downloads").replaceChildren(...links);
  byId("transcript").replaceChildren(...turns(transcript));
  if (!transcript.segments.length) byId("transcript").textContent = "No speech was found in this recording.";
  byId("title").textContent = job.filename || "Transcript";
  byId("about").textContent = [`${transcript.speakers.length} speakers`, clock(transcript.duration_s), transcript.language]
    .filter(Boolean).join(" · ").replace(/^1 speakers/, "1 speaker");
  show("result", true);
  byId("result").scrollIntoView({ block: "nearest" });
}

/** A part of the page for what each speaker says until another one does. */
function turns(transcript) {
  const labels = new Map(transcript.speakers.map(({ speaker, name }) => [speaker, name || speaker]));
  const order = [...labels.keys()];
  const parts = [];
  spoken = [];
  let last = null;
  for (const segment of transcript.segments) {
    if (!parts.length || segment.speaker !== last) {
      const part = element("section", { className: `turn s${Math.max(order.indexOf(segment.speaker), 0) % 6}` });
      const at = element("button", { className: "at", type: "button", textContent: clock(segment.start_s) });
      at.dataset.at = segment.start_s;
      at.setAttribute("aria-label", `Play from ${clock(segment.start_s)}`);
      const label = labels.get(segment.speaker) ?? "Someone";
      part.append(element("h3", { textContent: label }), at, element("p"));
      parts.push(part);
      last = segment.speaker;
    }
    for (const word of segment.words) {
      const shown = element("span", { textContent: word.text.trim() });
      shown.dataset.at = word.start_s;
      spoken.push({ start: word.start_s, end: word.end_s, shown });
      parts.at(-1).lastChild.append(word.text.startsWith(" ") ? " " : "", shown);
    }
  }
  return parts;
}

function listenTo(file) {
  URL.revokeObjectURL(byId("player").src);
  if (file) byId("player").src = URL.createObjectURL(file);
  show("player", Boolean(file));
  show("silent", !file);
}

function showUnfinished() {
  const open = [...kept()].map(([, entry]) => entry).filter((entry) => entry.session && !entry.isUploaded);
  const lines = open.map(({ filename, sent, size }) => `${filename} has arrived to ${percent(sent / size)}`);
  byId("unfinished").textContent = `${lines.join(", ")}. Choose the same file again to go on from there.`;
  show("unfinished", open.length > 0);
}

const show = (id, isShown) => { byId(id).hidden = !isShown; };
const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);
const percent = (part) => `${Math.floor(part * 100)} %`;
const amount = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const clock = (s) => new Date(s * 1000).toISOString().slice(s < 3600 ? 14 : 11, 19);

function chosen() {
  const [file] = byId("file").files;
  if (!file) return;
  byId("chosen").replaceChildren(element("strong", { textContent: file.name }), `, ${amount(file.size)}`);
  if (nameOf(file) === shownName) listenTo(file);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", byId("key").value); // until the tab is closed
  sessionStorage.setItem("api", byId("api").value);
  const [file] = byId("file").files;
  busy(() => transcribe(file));
});
byId("file").addEventListener("change", chosen);
for (const [type, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  byId("drop").addEventListener(type, () => byId("drop").classList.toggle("over", isOver));
}
byId("transcript").addEventListener("click", ({ target }) => {
  if (target.dataset.at === undefined || byId("player").hidden) return;
  byId("player").currentTime = Number(target.dataset.at);
  byId("player").play();
});
byId("player").addEventListener("timeupdate", () => {
  const at = byId("player").currentTime;
  const word = spoken.findLast(({ start }) => start <= at);
  byId("transcript").querySelector(".now")?.classList.remove("now");
  if (word && at < word.end) word.shown.classList.add("now");
});

byId("key").value = sessionStorage.getItem("key") ?? "";
byId("api").value = sessionStorage.getItem("api") ?? new URLSearchParams(location.search).get("api") ?? byId("api").value;
const followed = [...kept()].find(([, entry]) => entry.isUploaded);
if (followed && byId("key").value) busy(() => watch(...followed));
else showUnfinished();
