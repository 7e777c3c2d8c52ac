"""Classes of voxels from scribbles: strokes → samples → trees → probabilities."""
