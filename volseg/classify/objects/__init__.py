"""Classifiers of objects behind one interface: features or patches in, calibrated probabilities of classes out."""
