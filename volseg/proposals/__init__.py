"""What dense maps propose: fragments of slices, seeds in 3D, regions. Neither stores nor models."""
