"""The family of SAM 2, where the package `sam2` is installed."""
