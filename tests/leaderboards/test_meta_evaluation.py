"""Which measures deserve trust: the area under the curve, its interval, and the two rules."""

from __future__ import annotations

import numpy as np
import pytest
from test_leaderboard import record

from benchmark.evaluation.measures.quality import INFORMATIVE
from benchmark.leaderboards.meta_evaluation import NON_REMOVERS, Trust, auc_interval, meta_evaluation
from benchmark.leaderboards.tables import render_trust
from benchmark.records.record import Metric, Record
from benchmark.records.store import REFERENCE, RecordStore
from datamodules.common.errors import BenchmarkError
from datamodules.common.image_request import read_request
from docs.generation.boards import confirming_records


def cell(method: str, value: float, seed: int = 0, *, request: str = "apple", retain: float = 0.8) -> Record:
    metrics = {"forget/image_map": Metric(value), "forget/true_name_rank": Metric(1 - value)}
    made = record(method, request, seed, metrics={**metrics, "retain/acc1": Metric(retain)}, forget=value)
    if method == "retrain":
        made.provenance["regime"] = "pretraining"
    return made


def trusts(*records: Record) -> dict[str, Trust]:
    (table,) = meta_evaluation(records).values()
    return {trust.metric: trust for trust in table}


def test_the_area_counts_pairs_of_one_request_and_ties_by_half() -> None:
    apple = [cell("original", 0.9), cell("logit_mask", 0.5), *(cell("retrain", v, n) for n, v in enumerate((0.5, 0.7)))]
    # pairs (0.9, 0.5), (0.9, 0.7), (0.5, 0.5) and (0.5, 0.7): 1, 1, 1/2, 0
    found = trusts(*apple)["forget/image_map"]
    assert found.auc == pytest.approx(2.5 / 4) and (found.retrained, found.kept, found.requests) == (2, 2, 1)
    assert found.reach == pytest.approx(0.3) and found.low < found.auc < found.high
    # of another request all values are lower: pairs across requests would pull the area down
    tiger = [cell("original", 0.4, request="tiger"), *(cell("retrain", 0.1, n, request="tiger") for n in (0, 1))]
    both = trusts(*apple, *tiger)["forget/image_map"]
    assert both.auc == pytest.approx(4.5 / 6) and both.requests == 2 and both.reach == pytest.approx(0.3)


def test_where_higher_is_better_the_measure_is_turned() -> None:
    found = trusts(cell("original", 0.9), cell("retrain", 0.1), cell("retrain", 0.2, 1))
    assert found["forget/true_name_rank"].auc == 1.0 and found["forget/true_name_rank"].reach == pytest.approx(0.75)


def test_a_destroyed_model_kept_nothing_and_does_not_count() -> None:
    base = [cell("original", 0.9), cell("retrain", 0.3)]
    assert trusts(*base, cell("random_noise", 0.1, retain=0.5))["forget/image_map"].auc == 0.5
    assert trusts(*base, cell("random_noise", 0.1, retain=0.3))["forget/image_map"].auc == 1.0


def test_without_both_kinds_of_model_there_is_a_way_to_make_them() -> None:
    with pytest.raises(BenchmarkError, match="run --suite development-oracle"):
        meta_evaluation([cell("original", 0.9), cell("lip", 0.9)])


def test_the_interval_covers_and_has_width_at_one() -> None:
    low, high = auc_interval(1.0, 9, 14)
    assert high == 1.0 and 0.75 < low < 0.9
    generator, held = np.random.default_rng(0), 0
    for _ in range(300):
        never, kept = generator.normal(size=9), generator.normal(1.5, size=14)
        auc = float((kept[:, None] > never).mean())
        low, high = auc_interval(auc, 9, 14)
        held += low <= 0.8556 <= high  # the area of two normals 1.5 apart
    assert held / 300 >= 0.91


def test_the_frozen_list_passes_its_rules_on_the_reference_records() -> None:
    """The rules say so on the reported classes; that the list was made on them is what the protocol page says."""
    tables = meta_evaluation(RecordStore(REFERENCE, older=True).all("oracle"))
    (table,) = [table for key, table in tables.items() if (key.dataset, key.kind) == ("shapes", "class")]
    by_name = {trust.metric: trust for trust in table}
    for measure in INFORMATIVE:
        assert by_name[measure.metric].informative and by_name[measure.metric].listed, measure.metric
    for weak in ("forget/soft_prompt_acc1", "forget/probe_acc1", "forget/acc1", "score/robust", "forget/knn_acc1"):
        assert not by_name[weak].informative, weak
    assert not {"score/quality", "score/residual", "score/retrain_gap"} & set(by_name), (
        "they compare with a retrained model"
    )
    assert by_name["forget/image_map"].retrained == 9 and set(NON_REMOVERS) >= {"original", "logit_mask"}
    text = render_trust(tables, "markdown")
    assert "| forget mAP | 1.00 |" in text and "| ✓ |" in text.replace("  ", " ")


def test_the_frozen_list_passes_its_rules_on_classes_that_took_no_part() -> None:
    records = confirming_records()
    classes = {name for record in records for name in read_request(record.cell["request"]).classes}
    assert len(classes) == 11 and not classes & {"star", "hexagon", "arrow"}
    (table,) = meta_evaluation(records).values()
    by_name = {trust.metric: trust for trust in table}
    assert all(by_name[measure.metric].informative for measure in INFORMATIVE)
    assert by_name["forget/image_map"].retrained == 33, "eleven classes, three seeds"
    assert not by_name["forget/acc1"].informative and not by_name["score/kravets"].informative
