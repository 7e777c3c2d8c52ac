"""OME-Zarr images and label images: metadata, lazy reading, whole-object writing, pyramids and object tables."""
