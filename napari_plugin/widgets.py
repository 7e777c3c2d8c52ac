"""What the manifest names: each panel for a viewer, over the viewer's one desk."""

from __future__ import annotations

from typing import Any

from napari.utils.notifications import show_info
from qtpy.QtWidgets import QLabel, QScrollArea

from napari_plugin.desk import Desk, desk_of
from napari_plugin.exporting_widget import ExportPanel
from napari_plugin.keys import help_html
from napari_plugin.new_button import bind_new_button
from napari_plugin.notices_widget import FeedbackPanel, show_notice
from napari_plugin.opening_widget import OpenPanel
from napari_plugin.overlap_widget import show_overlap
from napari_plugin.prompting_widget import PromptPanel
from napari_plugin.quick_presses import take_quick_presses


def desk_with_notices(viewer: Any) -> Desk:
    """The desk of a viewer, whose notices are shown above the viewer's window."""
    desk = desk_of(viewer)
    if len(desk.noticed) == 0:
        window = getattr(desk.viewer, "window", None)
        desk.noticed.connect(lambda notice: show_notice(notice, window))
        desk.said.connect(show_info)
        if window is not None:
            bind_new_button(desk.viewer)
            take_quick_presses(desk.viewer)
        desk.asked.connect(lambda overlap, answer: show_overlap(overlap, answer, window))
    return desk


class OpenWidget(OpenPanel):
    """Opens volumes: paths, ``s3://`` and ``https://``."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(desk_with_notices(napari_viewer))


class PromptWidget(PromptPanel):
    """Prompts objects and propagates them."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(desk_with_notices(napari_viewer))


class ExportWidget(ExportPanel):
    """Exports label images."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(desk_with_notices(napari_viewer))


class FeedbackWidget(FeedbackPanel):
    """Composes a report."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(desk_with_notices(napari_viewer))


class KeysWidget(QScrollArea):
    """Lists the keys."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        text = QLabel(help_html())
        text.setWordWrap(True)
        text.setMargin(8)
        self.setWidgetResizable(True)
        self.setWidget(text)
