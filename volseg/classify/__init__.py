"""Classifiers that learn from few labels."""
