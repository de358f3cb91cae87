"""Figures for Prometheus, worked out from the record at each scrape: every broker tells the same.

portcullis_key_age_seconds{account,slot}         of the key in use
portcullis_oldest_key_age_seconds{slot}          the one to alert on
portcullis_rotations_total{outcome}              ended ones: done, abandoned, halted
portcullis_rotations_open{state}                 under way; `stalled` waits for a person
portcullis_rotations_waiting_for_a_person
portcullis_findings{what}                        of the sweep, standing
portcullis_checkouts_open                        keys that left, not proven dead nor twice looked up
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.db import checkouts as checkout_store
from broker.db import rotations as rotation_store
from broker.model import Stage
from broker.service import Service, holding

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        yield from self._keys()
        yield from self._rotations()
        found = GaugeMetricFamily("portcullis_findings", "Findings of the sweep that stand.", labels=["what"])
        for what, count in Counter(one.what for one in self._service.rotations.findings()).items():
            found.add_metric([what], count)
        yield found
        with self._service.desk.database.read() as connection:
            out = len(checkout_store.open_now(connection))
        yield GaugeMetricFamily(
            "portcullis_checkouts_open",
            "Keys that left, and are neither proven dead nor twice looked up by a person.", out,
        )  # fmt: skip

    def _keys(self) -> Iterator[Metric]:
        now = self._service.desk.clock.now()
        each = GaugeMetricFamily(
            "portcullis_key_age_seconds", "Age of a key in use.", labels=["account", "slot"]
        )
        oldest: dict[str, float] = {}
        for key in self._service.keys.list():
            if key.stage is Stage.CURRENT:
                age_s, slot = (now - key.created_at).total_seconds(), key.ref.slot.value
                each.add_metric([key.ref.account, slot], age_s)
                oldest[slot] = max(age_s, oldest.get(slot, 0.0))
        yield each
        all_ = GaugeMetricFamily(
            "portcullis_oldest_key_age_seconds", "Age of the oldest key in use.", labels=["slot"]
        )
        for slot, age_s in oldest.items():
            all_.add_metric([slot], age_s)
        yield all_

    def _rotations(self) -> Iterator[Metric]:
        with self._service.desk.database.read() as connection:
            ended = rotation_store.outcomes(connection)
            rows, hold = rotation_store.every_open(connection), holding.to_hold(connection)
        total = CounterMetricFamily("portcullis_rotations", "Rotations that ended.", labels=["outcome"])
        for outcome in ("done", "abandoned", "halted"):
            total.add_metric([outcome], ended.get(outcome, 0))
        yield total
        states = Counter({"stalled": 0}) + Counter(row.state for row in rows)
        under_way = GaugeMetricFamily("portcullis_rotations_open", "Rotations under way.", labels=["state"])
        under_way.add_metric(["stalled"], states.pop("stalled", 0))
        for state, count in states.items():
            under_way.add_metric([state], count)
        yield under_way
        yield GaugeMetricFamily(
            "portcullis_rotations_waiting_for_a_person", "Rotations in which a person has to do something.",
            sum(bool(row.todo) and not holding.held(row, hold) for row in rows),
        )  # fmt: skip


def figures(service: Service) -> bytes:
    """Return the figures as they are now.

    Raises:
        StoreUnavailable: The database cannot answer.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(service))
    return generate_latest(registry)
