"""Work beside the GUI thread, and what goes wrong in it as notices for people."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from psygnal import Signal

from napari_plugin.gui import in_gui
from napari_plugin.messages import Notice, notice_of

_log = logging.getLogger(__name__)


class Telling:
    """Keeps the notices of a viewer.

    Attributes
    ----------
    noticed
        Signal(Notice): something a person must read; on the GUI thread.
    said
        Signal(str): something to know in passing, shown for some seconds; on the GUI thread.
    """

    noticed = Signal(Notice)
    said = Signal(str)

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def tell(self, error: BaseException, doing: str = "") -> None:
        """Have a person read of an error; on the GUI thread."""
        self.noticed.emit(self.note(error, doing))

    def note(self, error: BaseException, doing: str = "") -> Notice:
        """Keep the notice of an error that the sign in the status bar goes on telling; on the GUI thread."""
        notice = notice_of(error, doing)
        _log.log(logging.INFO if notice.expected else logging.ERROR, "%s: %s", doing, error)
        self.notices.append(notice)
        return notice

    def aside(self, function: Callable[[], object], doing: str) -> threading.Thread:
        """Run something that waits on a thread of its own; what goes wrong becomes a notice."""

        def run() -> None:
            try:
                function()
            except Exception as failed:
                error = failed
                in_gui(lambda: self.tell(error, doing))

        thread = threading.Thread(target=run, daemon=True, name="volseg-aside")
        thread.start()
        return thread
