"""What people read: notices of errors, the report, the keys; and masks that are shown without being stored."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from napari_plugin.feedback import LastLines, compose_report, save_report
from napari_plugin.keys import IMAGES, LABELS, PROMPTS, Key, all_keys, clashes, help_html
from napari_plugin.messages import TITLES, notice_of, without_secrets
from napari_plugin.sparse import SparseMasks
from volseg.errors import AccessDeniedError, ConflictError, InputError, StorageFullError
from volseg.propagation.window import MaskWindow


def test_a_notice_says_what_happened_and_keeps_the_details() -> None:
    try:
        raise AccessDeniedError("s3://b/x refused; check AWS_PROFILE")
    except AccessDeniedError as error:
        notice = notice_of(error, "opening s3://b/x")
    assert notice.title == "No access: opening s3://b/x" and notice.expected
    assert notice.text == "s3://b/x refused; check AWS_PROFILE"
    assert "Traceback" in notice.details and "test_telling.py" in notice.details
    fault = notice_of(ZeroDivisionError("division by zero"))
    assert not fault.expected and "fault of the program" in fault.text
    assert notice_of(StorageFullError("full")).title == "No space left"
    assert notice_of(ConflictError("x")).title.startswith("Somebody else edited")
    remote = InputError("in the worker")
    remote.remote_trace = "Traceback of the worker"  # type: ignore[attr-defined]
    assert "Traceback of the worker" in notice_of(remote).details


def test_narrower_titles_stand_before_wider_ones() -> None:
    kinds = [kind for kind, _ in TITLES]
    for i, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[i + 1 :]), kind


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SECRET_ACCESS_KEY=abc123secret",
        "aws_session_token: abc123secret",
        "Authorization: Bearer abc123secret.x",
        "https://user:abc123secret@host/x",
        "https://b/x?X-Amz-Signature=abc123secret&y=1",
        "password='abc123secret'",
        "AKIAABC123SECRETXXXX",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert "abc123secret" not in without_secrets(text).lower().replace("…", "")


def test_the_report_has_versions_settings_and_log_but_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc123secret")
    lines = LastLines(count=3).listen()
    logger = logging.getLogger("volseg.test")
    for i in range(5):
        logger.info("line %d token=abc123secret", i)
    logging.getLogger("volseg").removeHandler(lines)
    logging.getLogger("napari_plugin").removeHandler(lines)
    assert len(lines.lines) == 3
    report = compose_report("it broke", ["s3://b/v.zarr"], lines.lines, "the details")
    assert "abc123secret" not in report
    for part in ("it broke", "s3://b/v.zarr", "line 4", "volseg", "numpy", "the details"):
        assert part in report
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:9" in report
    assert "AWS_SECRET_ACCESS_KEY is set" in report
    assert save_report(report, tmp_path / "r.txt").read_text("utf-8") == report


def _napari_keys() -> dict[str, set[str]]:
    """The keys that napari itself has per kind of layer, its viewer's included, as it writes them."""
    from app_model.types import KeyBinding
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Points
    from napari.utils.action_manager import action_manager
    from napari.utils.shortcuts import default_shortcuts

    ViewerModel()
    found: dict[str, set[str]] = {}
    kinds = {PROMPTS: Points, LABELS: Labels, IMAGES: Image}
    for kind, layer in kinds.items():
        taken = set(layer.class_keymap) | set(ViewerModel.class_keymap)
        for name, keys in default_shortcuts.items():
            action = action_manager._actions.get(name)
            provider = getattr(action, "keymapprovider", None)
            if provider is None or provider is ViewerModel or issubclass(layer, provider):
                taken |= set(keys)
        found[kind] = {str(KeyBinding.validate(one)).replace("+", "-") for one in taken}
    return found


def test_no_key_clashes_with_naparis_own() -> None:
    taken = _napari_keys()
    assert "V" in taken[PROMPTS] and "B" in taken[LABELS]  # the comparison sees something
    assert clashes(all_keys(), taken) == []


def test_a_clash_is_told() -> None:
    mine = [Key("B", "one", "x", (LABELS,)), Key("Q", "two", "x"), Key("Q", "three", "x")]
    told = clashes(mine, {LABELS: ["B"]})
    assert any("napari has it" in one for one in told) and any("both two" in one for one in told)


def test_the_help_lists_every_key() -> None:
    text = help_html()
    for one in all_keys():
        assert f"<b>{one.key}</b>" in text and one.text in text


def test_sparse_masks_read_as_an_array_of_any_level() -> None:
    rng = np.random.default_rng(1)
    whole = np.zeros((4, 21, 30), np.uint32)
    masks = SparseMasks((4, 21, 30), [(1, 1, 1), (1, 2, 2), (2, 4, 4)])
    for z, object_id, y, x in ((0, 3, 2, 5), (0, 4, 8, 9), (2, 3, 11, 17), (3, 9, 0, 0)):
        mask = rng.random((9, 12)) < 0.6
        mask[0, 0] = mask[-1, -1] = True
        masks.put(z, object_id, MaskWindow.crop(mask, (y, x)))
    for z in range(4):
        for object_id, one in sorted(masks.on_slice(z).items()):
            whole[z][one.full((21, 30))] = object_id
    fine, half, quarter = masks.levels
    assert np.array_equal(np.asarray(fine), whole)
    assert np.array_equal(fine[2, 5:19, 7:], whole[2, 5:19, 7:])
    assert np.array_equal(fine[..., 4], whole[..., 4]) and fine[-1, 0, 0] == whole[-1, 0, 0]
    assert np.array_equal(np.asarray(half), whole[:, ::2, ::2])
    assert np.array_equal(quarter[:, 1:4, 2:5], whole[::2, ::4, ::4][:, 1:4, 2:5])
    masks.remove(3)
    assert masks.slices == [0, 3]
    masks.remove()
    assert not np.asarray(fine).any()
