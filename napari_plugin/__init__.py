"""The napari plugin: views over the library.

Nothing here computes, and nothing that can block runs in the GUI thread.
"""
