"""What objects measure: sums over their voxels, taken block by block, and the features that are made of them.

Sums are whole numbers, so that no cut into blocks changes a bit of them. Nothing here reads a store, runs a job or
knows a class.
"""
