"""The split: every rule of split.json is read as it is meant, and what validates never trains."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volseg.errors import InputError, NotThereError
from volseg.training.pictures import entries, picture_files
from volseg.training.sets import SETS, DataSet
from volseg.training.split import HALVES, Split, gaps, natural_order, read_split, stem


def halves(rule: dict[str, object], names: list[str]) -> dict[str, list[str]]:
    split = Split({"s": rule})
    return {half: [n for n in names if split.slices("s", n, 1, half)] for half in HALVES}


@pytest.mark.parametrize(
    ("rule", "train", "validate"),
    [
        ({"validate": ["b"]}, ["a", "c1", "c2"], ["b"]),
        ({"validate": "c*"}, ["a", "b"], ["c1", "c2"]),
        ({"train": ["a"], "validate": ["c2"]}, ["a"], ["c2"]),
        ({"train": "a.tif", "validate": ["b"]}, ["a"], ["b"]),
        ({"train": "all"}, ["a", "b", "c1", "c2"], []),
        ({"validate": "all"}, [], ["a", "b", "c1", "c2"]),
        ({"validate": []}, ["a", "b", "c1", "c2"], []),
        ({"train": "up to b", "validate": ["c2"]}, ["a", "b"], ["c2"]),
    ],
)
def test_pictures_split_by_name(
    rule: dict[str, object], train: list[str], validate: list[str]
) -> None:
    assert halves(rule, ["a", "b", "c1", "c2"]) == {"train": train, "validate": validate}


def test_up_to_counts_numbers_by_their_value() -> None:
    rule = {"train": "up to p2_9", "validate": ["p3_1"]}
    names = ["p2_8", "p2_9", "p2_10", "p10_1", "p3_1"]
    assert halves(rule, names) == {"train": ["p2_8", "p2_9"], "validate": ["p3_1"]}
    assert sorted(names, key=natural_order) == ["p2_8", "p2_9", "p2_10", "p3_1", "p10_1"]


@given(st.integers(1, 300), st.integers(0, 200), st.integers(0, 60))
@settings(deadline=None)
def test_slabs_leave_the_gap_unused(depth: int, last: int, gap: int) -> None:
    split = Split({"v": {"train": f"z < {last}", "validate": f"z >= {last + gap}"}})
    train = split.slices("v", "raw", depth, "train")
    validate = split.slices("v", "raw", depth, "validate")
    assert not set(train) & set(validate)
    assert set(train) | set(validate) == set(range(depth)) - set(range(last, last + gap))


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=20, unique=True))
@settings(max_examples=25, deadline=None)
def test_the_rule_by_hash_puts_each_name_into_one_half(names: list[str]) -> None:
    rule = "validation where int.from_bytes(sha256(name)[:4]) % 100 < 15"
    found = halves({"rule": rule}, names)
    assert sorted(found["train"] + found["validate"]) == sorted(names)
    for name in found["validate"]:
        assert int.from_bytes(sha256(name.encode()).digest()[:4], "big") % 100 < 15


@pytest.mark.parametrize(
    "rule",
    [
        {"train": "all", "validate": ["a"]},
        {"train": ["a"], "validate": "a*"},
        {"train": "z < 9", "validate": "z >= 8"},
    ],
)
def test_what_would_train_and_validate_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(InputError, match="only one of both"):
        Split({"s": rule}).slices("s", "a", 20, "train")


@pytest.mark.parametrize(
    "rule", [{"rule": "every tenth"}, {"validate": 3}, {"train": [1], "validate": ["b"]}]
)
def test_rules_that_are_not_known_are_refused(rule: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not known"):
        Split({"s": rule}).slices("s", "a", 20, "validate")


def test_a_set_without_a_rule_is_refused() -> None:
    with pytest.raises(InputError, match="no rule for the set 'other'"):
        Split({"s": {}}).half("other", "a")


def test_names_with_signs_of_expressions_stand_for_themselves() -> None:
    assert halves({"validate": ["a.b(1)", "[x]*"]}, ["aXb(1)", "a.b(1)", "[x]y", "x"]) == {
        "train": ["aXb(1)", "x"],
        "validate": ["a.b(1)", "[x]y"],
    }


def test_a_missing_or_broken_split_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"no split\.json .* --data"):
        read_split(tmp_path)
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_split(tmp_path)
    (tmp_path / "split.json").write_text("[]")
    with pytest.raises(InputError, match="object"):
        read_split(tmp_path)


def test_endings_are_no_part_of_names() -> None:
    assert [stem(n) for n in ("raw.tif", "ct3mm.raw.tif", "09.tif", "x")] == [
        "raw",
        "ct3mm",
        "09",
        "x",
    ]


def test_every_set_of_the_split_is_declared_and_there(shared_data: Path) -> None:
    rules = json.loads((shared_data / "split.json").read_text())
    assert {one.name for one in SETS} == set(rules) - {"about"}


@pytest.mark.parametrize("declared", SETS, ids=lambda one: one.name)
def test_no_slice_trains_and_validates(shared_data: Path, declared: DataSet) -> None:
    used: dict[str, set[tuple[str, int]]] = {
        half: {(e.name, z) for e in entries(shared_data, declared, half) for z in e.slices}
        for half in HALVES
    }
    assert used["train"] | used["validate"]
    assert not used["train"] & used["validate"]
    named = {name for half in HALVES for name, _ in used[half]}
    assert named <= set(picture_files(shared_data / declared.name))


@pytest.mark.parametrize(
    ("name", "between"),
    [
        ("phase_bacteria", ["16"]),
        ("ct_aorta", ["10002_419"]),
        ("em_axon", []),
        ("mr_heart", []),
        ("nuclei_dsb2018", []),
    ],
)
def test_what_lies_between_is_used_by_none(
    shared_data: Path, name: str, between: list[str]
) -> None:
    assert gaps(read_split(shared_data), name, list(picture_files(shared_data / name))) == between


def test_names_in_the_split_exist(shared_data: Path) -> None:
    rules = json.loads((shared_data / "split.json").read_text())
    for name, rule in rules.items():
        if name == "about":
            continue
        there = picture_files(shared_data / name)
        for entry in (rule.get("train", []), rule.get("validate", [])):
            for named in entry if isinstance(entry, list) else []:
                assert any(fnmatchcase(one, stem(named)) for one in there), (name, named)
