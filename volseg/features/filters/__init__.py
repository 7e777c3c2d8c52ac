"""Filter banks: what a voxel's neighbourhood looks like in numbers, for classifiers that learn from few labels."""
