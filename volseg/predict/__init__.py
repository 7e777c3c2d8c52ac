"""Model and embedding cache together: masks of prompted slices, dense maps of whole ones, the zoom that fits."""
