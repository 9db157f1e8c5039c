"""What each function does with its services, and why: the table that grants in Terraform are held against.

``test_access`` runs the functions and fails when one of them does what is not in the table, or does no longer what is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

PORTS = ("jobs", "documents", "events", "deliveries", "objects", "runner", "prober", "callers", "report_tokens")
# What a permission is for; ``itself`` is the function's own service account.
Resource = str
DATABASE, EVENTS, DELIVERIES, ITSELF = "database", "events", "deliveries", "itself"
UPLOADS, RESULTS, SOURCES = "uploads", "results", "sources"
REPORT_KEYS, MODAL_TOKEN = "report_keys", ("modal_token_id", "modal_token_secret")


@dataclass(frozen=True, order=True)
class Operation:
    """Something that a function's code asks of a port; of which bucket, if it is about an object."""

    function: str
    port: str
    method: str
    bucket: str = ""


@dataclass(frozen=True)
class Use:
    """What a function does with one port.

    Attributes:
        function: Its name.
        port: Of ``shared.ports``.
        methods: Of the port.
        why: What for.
        bucket: Which objects it is about, where it is about objects.
        is_seen: Whether a run shows it. What none shows can be reached all the same, and ``why`` says when it is.
        once: Whether it writes names alone that nothing has, and never hears that something is there already.
    """

    function: str
    port: str
    methods: tuple[str, ...]
    why: str
    bucket: str = ""
    is_seen: bool = True
    once: bool = False


def _rows(function: str, *rows: tuple[str, str, str], unseen: Iterable[tuple[str, str, str]] = ()) -> Iterable[Use]:
    for is_seen, given in ((True, rows), (False, unseen)):
        for place, methods, why in given:
            port, _, bucket = place.partition(" ")
            bucket, _, once = bucket.partition(" ")
            yield Use(function, port, tuple(methods.split()), why, bucket, is_seen, once == "once")


_OUTBOX = "unpublished mark_published"
_TELLS = ("events", "publish", "tells what has happened to a job")

USES: tuple[Use, ...] = (
    *_rows(
        "api",
        ("jobs", f"create get list count update {_OUTBOX}", "makes, shows and lists jobs, cancels and deletes them"),
        (
            "documents",
            "create get find update delete",
            "keys, webhooks, sources, versions, usage, answers",
        ),
        _TELLS,
        ("deliveries", "put", "pings an endpoint, replays a delivery"),
        ("objects uploads once", "sign_upload", "the URL that a phone uploads by, of a job that was just made"),
        ("objects uploads", "stat", "looks at what a job names in the inbox"),
        ("objects sources", "stat", "looks at what a job names in a listed bucket"),
        ("objects results", "stat", "asks whether the bucket answers"),
        ("objects results", "read", "transcripts and captions"),
        ("objects results once", "write", "an edited version, under a name that no other has"),
        unseen=[("objects results", "delete", "removes an edited version that another was quicker than")],
    ),
    *_rows(
        "on_upload",
        ("jobs", f"create get update {_OUTBOX}", "takes an upload in, which in the inbox is a new job"),
        ("documents", "get", "looks for results of the same recording"),
        _TELLS,
        ("objects uploads", "sign_download", "a child process reads the recording by a URL"),
        ("objects uploads", "delete", "an upload that came after its job was deleted"),
        ("objects results", "read write", "takes over the results of the same recording"),
        unseen=[("objects results", "stat", "finds what it has copied already, when it is told again")],
    ),
    *_rows(
        "orchestrate",
        ("jobs", f"get update erase_history {_OUTBOX}", "starts stages; erases deleted jobs"),
        ("documents", "create find update delete", "counts usage, remembers results; erases what a job has left"),
        _TELLS,
        ("objects uploads", "sign_download", "GPU jobs read the recording by a URL"),
        ("objects sources", "sign_download", "GPU jobs read a recording of a listed bucket by a URL"),
        ("objects uploads", "delete", "erases the recording of a deleted job"),
        ("objects results", "sign_upload", "GPU jobs write their artifacts by URLs, once more if they are cut off"),
        ("objects results", "read write stat", "its own stages, and results that are taken over"),
        ("objects results", "delete", "erases the artifacts of a deleted job"),
        ("report_tokens", "sign", "the proof by which a GPU job reports"),
        ("runner", "start cancel", "starts and stops GPU jobs"),
    ),
    *_rows(
        "on_report",
        ("jobs", f"get update {_OUTBOX}", "takes progress and results"),
        _TELLS,
        ("objects results", "stat", "whether what a GPU job says it wrote is there"),
        ("report_tokens", "check", "who reports"),
        ("runner", "cancel", "stops the other stages of a job that has failed"),
    ),
    *_rows(
        "notify",
        ("jobs", "get", "the job that a full delivery shows, and its callback"),
        ("documents", "create get find update", "endpoints and deliveries"),
        ("deliveries", "put", "has each delivery attempted"),
    ),
    *_rows(
        "fetch",
        ("jobs", f"get update {_OUTBOX}", "fetches the recording of a new job"),
        ("documents", "get delete", "where a recording is fetched from, until it is; results of the same recording"),
        _TELLS,
        ("objects uploads", "stat", "whether the recording was fetched already"),
        ("objects uploads", "sign_upload", "uploads while it fetches; that something is there ends it"),
        ("objects uploads", "sign_download", "a child process reads a recording of the inbox by a URL"),
        ("objects sources", "sign_download", "a child process reads a recording of a listed bucket by a URL"),
        ("objects results", "read write", "takes over the results of the same recording"),
        unseen=[("objects results", "stat", "finds what it has copied already, when it is told again")],
    ),
    *_rows(
        "sweep",
        ("jobs", f"get list update bookmark erase_history {_OUTBOX}", "mends every job that is stuck; erases old ones"),
        (
            "documents",
            "create get find due update delete purge",
            "retention, due deliveries, what a job has left",
        ),
        _TELLS,
        ("deliveries", "put", "has deliveries attempted that are due"),
        ("objects uploads", "stat", "looks for an upload that nobody was told of"),
        ("objects uploads", "sign_download", "validates it, and starts stages that were not started"),
        ("objects uploads", "delete", "erases recordings of deleted jobs"),
        ("objects results", "sign_upload", "starts stages that were not started"),
        ("objects results", "read write stat", "its own stages, results that are taken over, reports that got lost"),
        ("objects results", "delete", "erases the artifacts of deleted jobs"),
        ("report_tokens", "sign", "the proof by which a GPU job reports"),
        ("runner", "start poll cancel", "asks for calls that report nothing, starts and stops others"),
        unseen=[
            ("jobs", "create", "never: what it looks for are uploads of jobs that are there"),
            ("jobs", "set_bookmark", "when one sweep does not come to the end of all jobs"),
            ("objects sources", "sign_download", "as fetch and orchestrate, when these did not come to it"),
        ],
    ),
)

_OBJECT = ("storage.objects.get", "storage.objects.list")  # without list, what is missing is forbidden and not missing
_MADE = ("storage.objects.create",)
# Needed where something of the name may be there, to be told so.
_AGAIN = ("storage.objects.delete",)
_SIGNED = ("iam.serviceAccounts.signBlob",)
_READ = ("datastore.entities.get",)
_FOUND = (*_READ, "datastore.entities.list")
_CREATED = (*_READ, "datastore.entities.create")
_CHANGED = (*_READ, "datastore.entities.create", "datastore.entities.update")

# What the adapters in ``infra/gcp`` ask of Firestore for each method of the two stores. Events that a change causes are
# new documents of the same transaction.
FIRESTORE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("jobs", "create"): _CREATED,
    ("jobs", "get"): _READ,
    ("jobs", "update"): _CHANGED,
    ("jobs", "list"): _FOUND,
    ("jobs", "count"): _FOUND,
    ("jobs", "unpublished"): _FOUND,
    ("jobs", "mark_published"): ("datastore.entities.update",),
    ("jobs", "erase_history"): (*_FOUND, "datastore.entities.delete"),
    ("jobs", "bookmark"): _READ,
    ("jobs", "set_bookmark"): ("datastore.entities.create", "datastore.entities.update"),
    ("documents", "create"): _CREATED,
    ("documents", "get"): _READ,
    ("documents", "update"): (*_READ, "datastore.entities.update"),
    ("documents", "delete"): ("datastore.entities.delete",),
    ("documents", "find"): _FOUND,
    ("documents", "due"): _FOUND,
    ("documents", "purge"): (),  # Firestore does it by itself
}
# Of Cloud Storage, on the bucket; a URL is as good as the account that signs it.
STORAGE: Mapping[str, tuple[str, ...]] = {
    "sign_upload": _MADE,
    "sign_download": ("storage.objects.get",),
    "stat": _OBJECT,
    "read": _OBJECT,
    "write": (*_MADE, "storage.objects.get"),  # it looks who has written what is there
    "delete": ("storage.objects.delete", "storage.objects.list"),
}
_TOPICS = {"events": EVENTS, "deliveries": DELIVERIES}
_SECRETS = {"report_tokens": (REPORT_KEYS,), "runner": MODAL_TOKEN}
# Of these nothing is asked of Google: callers' tokens are checked by public keys, and the prober's child reads by a URL
# that ``objects`` signs.
FREE = ("callers", "prober")


def needed(use: Use) -> Mapping[Resource, frozenset[str]]:
    """The permissions that a use takes, by what they are for."""
    found: dict[Resource, set[str]] = {}
    for method in use.methods:
        for resource, permissions in _needed(use, method).items():
            found.setdefault(resource, set()).update(permissions)
    return {resource: frozenset(permissions) for resource, permissions in found.items()}


def _needed(use: Use, method: str) -> Mapping[Resource, tuple[str, ...]]:
    if use.port in ("jobs", "documents"):
        return {DATABASE: FIRESTORE[use.port, method]}
    if use.port in _TOPICS:
        return {_TOPICS[use.port]: ("pubsub.topics.publish",)}
    if use.port in _SECRETS:
        return dict.fromkeys(_SECRETS[use.port], ("secretmanager.versions.access",))
    again = _AGAIN if method in ("write", "sign_upload") and not use.once else ()
    on_bucket = {use.bucket: (*STORAGE[method], *again)}
    return {**on_bucket, ITSELF: _SIGNED} if method.startswith("sign_") else on_bucket


@cache
def needed_by(function: str) -> Mapping[Resource, frozenset[str]]:
    """The permissions that a function's account takes, by what they are for."""
    found: dict[Resource, frozenset[str]] = {}
    for use in USES:
        if use.function == function:
            for resource, permissions in needed(use).items():
                found[resource] = found.get(resource, frozenset()) | permissions
    return {resource: permissions for resource, permissions in found.items() if permissions}
