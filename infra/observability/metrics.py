"""Metrics for Prometheus, most of them read from the stores at the scrape: right with any number of instances.

Only requests are counted by each instance for itself, and the scraper tells them apart.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from infra.observability.requests import BUCKETS, request_counts
from infra.wiring import Services
from shared.jobs import JobState
from shared.ports import DeadLetters, Queue
from shared.usage import UsageEntry
from shared.webhooks import Delivery, DeliveryState

# Nobody counts further: what is above needs a person, not a number.
MAX_COUNTED = 1000
# Of so many jobs, the newest that used something, stage durations are told.
RECENT_JOBS = 200
STAGE_BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)


def scrape(services: Services) -> bytes:
    """All metrics, as text.

    Raises:
        PipelineError: ``service.unavailable``.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(services))
    return generate_latest(registry)


class _Collector:
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        yield from _requests()
        yield self._jobs()
        yield from self._queue()
        outbox = GaugeMetricFamily("earwitness_outbox_events", f"Events not yet published, {MAX_COUNTED} at most.")
        outbox.add_metric([], len(self._services.jobs.unpublished(limit=MAX_COUNTED)))
        yield outbox
        yield self._stages()
        yield self._deliveries()

    def _jobs(self) -> Metric:
        jobs = GaugeMetricFamily("earwitness_jobs", f"Jobs by state, {MAX_COUNTED} at most.", labels=["state"])
        for state in JobState:
            jobs.add_metric([state], self._services.jobs.count(state, limit=MAX_COUNTED))
        return jobs

    def _queue(self) -> Iterator[Metric]:
        """Where the bus can tell: Pub/Sub's subscriptions tell Cloud Monitoring."""
        bus = self._services.events
        if isinstance(bus, Queue):
            depth = GaugeMetricFamily("earwitness_queue_messages", "Messages not yet taken.", labels=["subscription"])
            age = GaugeMetricFamily(
                "earwitness_queue_oldest_seconds", "How long the oldest has waited.", labels=["subscription"]
            )
            for name, waiting in bus.waiting().items():
                depth.add_metric([name], waiting.depth)
                age.add_metric([name], waiting.oldest_s)
            yield from (depth, age)
        if isinstance(bus, DeadLetters):
            letters = GaugeMetricFamily("earwitness_dead_letters", "Messages that no subscriber would take.")
            letters.add_metric([], len(bus.dead_letters()))
            yield letters

    def _stages(self) -> Metric:
        family = GaugeHistogramMetricFamily(
            "earwitness_stage_seconds",
            f"How long stages ran, of the newest {RECENT_JOBS} jobs that used something.",
            labels=["stage"],
        )
        durations: dict[str, list[float]] = defaultdict(list)
        for entry in self._services.documents.find(UsageEntry, limit=RECENT_JOBS):
            for name, used in entry.attempts.items():
                if used.duration_s is not None:
                    durations[name.partition("/")[0]].append(used.duration_s)
        for stage, found in sorted(durations.items()):
            counts = [0] * (len(STAGE_BUCKETS) + 1)
            for duration_s in found:
                counts[bisect_left(STAGE_BUCKETS, duration_s)] += 1
            family.add_metric([stage], list(_cumulative(STAGE_BUCKETS, counts)), sum(found))
        return family

    def _deliveries(self) -> Metric:
        family = GaugeMetricFamily(
            "earwitness_webhook_deliveries", f"Deliveries by state, {MAX_COUNTED} at most.", labels=["state"]
        )
        for state in DeliveryState:
            found = self._services.documents.find(Delivery, state=state, limit=MAX_COUNTED)
            family.add_metric([state], len(found))
        return family


def _requests() -> Iterator[Metric]:
    labels = ["method", "route", "status"]
    requests = CounterMetricFamily("earwitness_http_requests", "Requests, of this instance.", labels=labels)
    took = HistogramMetricFamily("earwitness_http_seconds", "How long they took, of this instance.", labels=labels)
    for (method, route, status), seen in request_counts:
        requests.add_metric([method, route, str(status)], sum(seen.buckets))
        took.add_metric([method, route, str(status)], list(_cumulative(BUCKETS, seen.buckets)), seen.sum_s)
    yield from (requests, took)


def _cumulative(ends: Iterable[float], counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    total = 0
    for end, count in zip((*ends, float("inf")), counts, strict=True):
        total += count
        yield "+Inf" if end == float("inf") else str(end), total
