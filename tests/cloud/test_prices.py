"""Fleets, the price list, and the arithmetic of an estimate."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from volseg.cloud.files import deploy_file
from volseg.cloud.prices import (
    Fleet,
    estimate,
    estimate_plan,
    load_prices,
    parse_fleet,
    worker_seconds,
)
from volseg.errors import InputError, NotThereError


def test_fleets() -> None:
    assert parse_fleet("ec2:g6.xlarge*40") == Fleet("g6.xlarge", 40)
    assert parse_fleet("ec2:g6.xlarge") == Fleet("g6.xlarge", 1)


@pytest.mark.parametrize(
    "text", ["g6.xlarge*4", "ec2:", "ec2:g6*4", "ec2:g6.xlarge*0", "ec2:g6.xlarge*-1"]
)
def test_what_is_no_fleet(text: str) -> None:
    with pytest.raises(InputError, match=r"ec2:g6\.xlarge\*40"):
        parse_fleet(text)


def test_the_list_is_dated_and_names_the_default_workers() -> None:
    prices = load_prices()
    assert prices.date > datetime.date(2025, 1, 1)
    for name in ("g6.xlarge", "g5.xlarge", "g6e.xlarge", "t3.large"):
        assert 0 < prices.kind(name).on_demand < 5
    for kind in prices.kinds.values():
        assert kind.spot is None or kind.spot < kind.on_demand


def test_an_unknown_type_is_told_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no price for 'p9.big'.*g6\.xlarge"):
        load_prices().kind("p9.big")


def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(json.dumps({"date": "2026-01-01"}))
    with pytest.raises(InputError, match="region"):
        load_prices(tmp_path / "prices.json")


def test_twice_the_instances_halve_the_work_but_not_the_start() -> None:
    prices = load_prices()
    one = estimate(prices, Fleet("g6.xlarge", 1), 7200, parts=1000, start_s=300)
    two = estimate(prices, Fleet("g6.xlarge", 2), 7200, parts=1000, start_s=300)
    assert one.wall_s == 7500
    assert two.wall_s == 3900
    hour = prices.kind("g6.xlarge").on_demand + prices.address_hour + 120 * prices.disk_month / 730
    assert one.on_demand == pytest.approx(7500 / 3600 * hour)
    assert two.on_demand == pytest.approx(2 * 3900 / 3600 * hour)
    assert one.spot is not None and one.spot < one.on_demand


def test_more_workers_than_parts_cost_and_do_not_help() -> None:
    prices = load_prices()
    few = estimate(prices, Fleet("g6.xlarge", 4), 7200, parts=4)
    many = estimate(prices, Fleet("g6.xlarge", 8), 7200, parts=4)
    assert many.wall_s == few.wall_s
    assert many.on_demand == pytest.approx(2 * few.on_demand)


def test_every_gpu_of_an_instance_works() -> None:
    prices = load_prices()
    four = estimate(prices, Fleet("g6.12xlarge", 1), 4000, parts=100, start_s=0)
    assert four.wall_s == 1000


def test_the_worked_example() -> None:
    """1000 × 4000 × 4000 with ViT-B, 300 objects: the arithmetic of deploy/README.md."""
    prices = load_prices()
    embeddings, decodes = 25 * 1000, 2 * 300 * 1000
    seconds = worker_seconds(prices, "g6.xlarge", "vit_b", embeddings=embeddings, decodes=decodes)
    assert seconds == 1000 + 1500
    one, eight = (estimate(prices, Fleet("g6.xlarge", n), seconds, parts=600) for n in (1, 8))
    assert (round(one.wall_s / 60), round(one.on_demand, 2)) == (47, 0.64)
    assert (round(eight.wall_s / 60), round(eight.on_demand, 2)) == (10, 1.12)
    forty = estimate(prices, Fleet("g6.xlarge", 40), seconds, parts=600)
    assert (round(forty.wall_s / 60), round(forty.on_demand, 2)) == (6, 3.31)


def test_a_model_without_a_figure_is_told() -> None:
    with pytest.raises(InputError, match=r"no speed of vit_b on g4dn\.xlarge.*VOLSEG_PRICES"):
        worker_seconds(load_prices(), "g4dn.xlarge", "vit_b", embeddings=1, decodes=1)


@pytest.mark.parametrize("model", ["nano", "vit_b", "vit_l", "vit_h"])
@pytest.mark.parametrize("kind", ["g6.xlarge", "g5.xlarge", "g6e.xlarge"])
def test_every_model_has_a_figure_on_the_stack_s_workers(kind: str, model: str) -> None:
    assert worker_seconds(load_prices(), kind, model, embeddings=1000, decodes=1000) > 0


def test_a_list_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = json.loads(deploy_file("prices.json").read_text())
    raw["instances"]["g6.xlarge"] = {
        "on_demand": 2.0,
        "gpus": 1,
        "encodes_per_s": {"vit_b": 10},
        "decodes_per_s": {"vit_b": 100},
    }
    monkeypatch.setenv("VOLSEG_PRICES", str(tmp_path / "mine.json"))
    with pytest.raises(NotThereError, match="VOLSEG_PRICES"):
        load_prices()
    (tmp_path / "mine.json").write_text(json.dumps(raw))
    mine = load_prices()
    assert mine.kind("g6.xlarge").on_demand == 2.0
    assert worker_seconds(mine, "g6.xlarge", "vit_b", embeddings=10, decodes=100) == 2.0


def test_a_plan_on_a_fleet() -> None:
    plan = SimpleNamespace(
        predictor=SimpleNamespace(kind="sam", variant="vit_b"),
        estimates=SimpleNamespace(tiles_at_most=25_000, blocks_at_most={"seed": 19}),
        objects=range(300),
        source=SimpleNamespace(shape=(1000, 4000, 4000)),
    )
    found = estimate_plan(plan, parse_fleet("ec2:g6.xlarge*40"), load_prices())  # type: ignore[arg-type]
    assert found.worker_s == 2500
    assert found.wall_s == 300 + 2500 / 38  # 19 groups of objects, up and down


def test_people_are_told_in_one_sentence() -> None:
    prices = load_prices()
    told = estimate(prices, Fleet("g6.xlarge", 4), 7200, parts=1000).describe()
    assert told.startswith("4 × g6.xlarge: 35 min (2 h 00 min on one worker), $1.9")
    assert "typical spot prices" in told
    assert f"Prices of {prices.date} in us-east-1" in told
    assert "check both" in told
