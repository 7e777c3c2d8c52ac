"""Prompts without a file of JSON: points and boxes as texts, and tables of points."""

from __future__ import annotations

from pathlib import Path

import pytest

from volseg.errors import InputError, NotThereError, PromptError
from volseg.prompts import typed_prompts


def test_points_and_boxes_are_objects_and_those_of_one_id_one() -> None:
    made = typed_prompts(
        ["3,10,20", "7=3,5,6", "7=3,9.5,9,0", " 7=( 4, 5, 6 ) "], ["2,0,0,8,9", "7=5,1,2,3,4"],
        layer="cells", time=2,
    )  # fmt: skip
    assert [layer.name for layer in made.layers] == ["cells"]
    found = {one.id: one.prompts for one in made.objects}
    assert list(found) == [1, 7, 2]
    assert found[1][0].points == ((10.0, 20.0, 1),) and found[1][0].t == 2
    assert [prompt.z for prompt in found[7]] == [3, 4, 5]
    assert found[7][0].points == ((5.0, 6.0, 1), (9.5, 9.0, 0))
    assert found[7][2].box == (1, 2, 3, 4) and found[2][0].box == (0, 0, 8, 9)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("id,z,y,x,label\n5,1,2,3,1\n5,1,4,5,0\n,2,6,7,\n", {5: 1, 1: 2}),
        ("\ufeffX;Y;Z\n3;2;1\n7;6;2\n", {1: 1, 2: 2}),
        ("index,axis-0,axis-1,axis-2\n0,0.96,2.5,3.5\n1,2.0,6.0,7.0\n", {1: 1, 2: 2}),
        ("y\tx\n2\t3\n", {1: 0}),
    ],
)
def test_tables_of_several_programs(tmp_path: Path, text: str, wanted: dict[int, int]) -> None:
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    made = typed_prompts(table=str(tmp_path / "p.csv"))
    assert {one.id: one.prompts[0].z for one in made.objects} == wanted


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"points": ["3,10"]}, "Z,Y,X"),
        ({"points": ["3,10,x"]}, "Z,Y,X"),
        ({"points": ["0=3,10,20"]}, "ID="),
        ({"points": ["1.5,10,20"]}, "slice 1.5"),
        ({"points": ["-1,10,20"]}, "slice -1"),
        ({"points": ["1,10,20,2"]}, "label 2"),
        ({"boxes": ["1,5,5,5,9"]}, "empty"),
        ({"boxes": ["1,5,5,9"]}, "Y0"),
        ({"boxes": ["3=1,0,0,5,5", "3=1,0,0,6,6"]}, "two boxes"),
        ({}, "no prompts"),
    ],
)
def test_what_is_wrong_is_named(how: dict[str, list[str]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        typed_prompts(**how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "columns z, y and x"),
        ("z,y,x\n1,2,\n", "line 2: x ''"),
        ("z,y,x\n1,2,3\n1,2,nan\n", "line 3: x 'nan'"),
        ("id,z,y,x\n1.5,1,2,3\n", "line 2: id 1.5"),
        ("id,z,y,x\n,-1,2,3\n", "slice -1"),
        ("axis-0,axis-1,axis-2,axis-3\n0,0,0,0\n", "four axes"),
        ("", "none"),
        ("z,y,x\n", "no prompts"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        typed_prompts(table=str(tmp_path / "p.csv"))


def test_points_beside_an_object_alone_and_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="nothing shows where object 4"):
        typed_prompts(["4=1,2,3,0"])
    with pytest.raises(NotThereError):
        typed_prompts(table=str(tmp_path / "none.csv"))
