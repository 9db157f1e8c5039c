// Listens as a signed-in user, with the code of LISTENING.md, and prints a line of JSON for whatever it is told.
import { initializeApp } from "firebase/app";
import { connectFirestoreEmulator, getFirestore, setLogLevel, terminate } from "firebase/firestore";

const [example, port, project, user, jobId] = process.argv.slice(2);
const { listenToJob, listenToMyJobs } = await import(example);
const print = (line) => console.log(JSON.stringify(line));

setLogLevel("silent");
const db = getFirestore(initializeApp({ projectId: project, apiKey: "none" }));
const claims = JSON.parse(user);
connectFirestoreEmulator(db, "127.0.0.1", Number(port), claims ? { mockUserToken: claims } : {});

const refused = (what) => (error) => print({ [what]: error.code });
listenToMyJobs(
  db,
  claims?.tenant_id ?? "default",
  claims?.sub ?? "",
  (jobs) => print({ jobs: jobs.map((job) => job.job_id) }),
  refused("jobs_refused"),
);
listenToJob(
  db,
  jobId,
  ({ state, progress, revision, partial_text, updated_at }) =>
    print({ state, progress, revision, partial_text, updated_at: updated_at.toDate() }),
  refused("job_refused"),
);

// Until whoever started this has seen enough.
process.stdin.on("end", () => terminate(db).then(() => process.exit(0))).resume();
