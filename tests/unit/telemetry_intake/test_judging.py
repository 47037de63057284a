import json
import random
import time
from dataclasses import replace

import pytest

from telemetry.intake.admission import Admission, Allowance
from telemetry.load import judging
from telemetry.load.judging import Judging
from telemetry.load.series import SeriesCatalog
from telemetry.log.records import seal
from telemetry.log.segments import Segment, mend
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from telemetry.store.engine import StoreFailed
from tests.contract.telemetry_intake import otlp_requests


ALLOWANCE = Allowance(
    series_max=60,
    tenant_series_max=40,
    tenant_points_per_s=0,
    tenant_new_series_per_s=0,
    tenants_max=2,
    metric_series_max=12,
)


class Store:
    """Keeps the series that are written, and refuses the first time."""

    def __init__(self):
        self.ids = []
        self.refuses = True

    async def load(self, load):
        if self.refuses:
            self.refuses = False
            raise StoreFailed(1, "not yet")
        lines = load.path.read_text().splitlines()
        self.ids += [json.loads(line)["series_id"] for line in lines]
        return len(lines)


def opened(folder):
    folder.mkdir()
    scanner, store = Scanner(), Store()
    catalog = SeriesCatalog(store, scanner, folder)
    return Admission(scanner, catalog, ALLOWANCE, folder), catalog, store


def records(chance, at_ns):
    """Return records of few and of many series, known and new, of tenants, some unreadable."""
    found = []
    for _ in range(40):
        first = chance.choice([0, 0, 0, chance.randrange(20)])
        request = otlp_requests.gauges(
            f"m{chance.randrange(3)}", [1.0] * chance.randrange(1, 6), at_ns, where=f"w{first}"
        )
        if chance.random() < 0.1:
            request = request[:-1]
        found.append(seal(request, chance.choice(["", "", "a", "b", "c"]), at_ns))
    return found


def told(scan):
    if scan is None:
        return None
    ids = sorted(one.series_id for one in scan.new_series)
    return replace(scan, new_series=[], batch=None, labels=None), ids, scan.batch.samples.tobytes()


@pytest.mark.parametrize("seed", range(30))
async def test_what_is_judged_ahead_is_what_it_would_be_in_order(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "_JUDGED_BYTES", 200)  # Few records are judged together.
    path = tmp_path / "1.pb"
    path.write_bytes(b"".join(records(random.Random(seed), time.time_ns())))
    mended = mend(Segment(signal=Signal.METRICS, number=1, path=path), tmp_path, newest=False)
    admission, catalog, store = opened(tmp_path / "ahead")
    monkeypatch.setattr(judging, "_THREADS", 1 + seed % 4)

    scans = await Judging(admission, catalog).judge_all(Signal.METRICS, mended)

    admission, reference, _ = opened(tmp_path / "ordered")
    expected = [
        scan
        for part in judging._parts(mended.records)
        for scan in await Judging(admission, reference).judge(Signal.METRICS, mended, part)
    ]
    assert [told(scan) for scan in scans] == [told(scan) for scan in expected]
    await catalog.store()
    assert len(store.ids) == len(set(store.ids)) == sum(catalog.by_tenant.values())
    assert catalog.by_tenant == reference.by_tenant
