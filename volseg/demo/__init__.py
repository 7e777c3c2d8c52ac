"""The demonstration: a synthetic volume with known truth, the whole way to a report. Starts the flow; no algorithms."""
