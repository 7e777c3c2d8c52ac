"""What training and applying look at alike: which channels, and which of their values count as dark and bright."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.errors import InputError

if TYPE_CHECKING:
    from volseg.images.image import Volume


def channels_of(volume: Volume, channel: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the channels that were chosen, all by default.

    Raises
    ------
    InputError
        If the image has no such channel, or one is named twice.
    """
    if channel is None:
        return tuple(range(volume.n_channels))
    for one in channel:
        if not 0 <= one < volume.n_channels:
            raise InputError(
                f"channel {one} does not exist; {volume.location} has {volume.n_channels}, from 0"
            )
    if not channel or len(set(channel)) < len(channel):
        raise InputError(f"channels {channel}: expected at least one, and each once")
    return channel


def limits_of(
    volume: Volume, level: int, time: int, channels: tuple[int, ...]
) -> tuple[tuple[float, float], ...]:
    """Return the values (low, high) of each channel that are shown as dark and bright; see `volseg.images.contrast`."""
    from volseg.images.contrast import measure_contrast, widened

    if volume.is_rgb:
        return tuple((0.0, 255.0) for _ in channels)
    return tuple(widened(*measure_contrast(volume, level, time, channel)) for channel in channels)
