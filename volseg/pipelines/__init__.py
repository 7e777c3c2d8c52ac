"""Kinds of work, each a folder: options → plan → stages that the engine runs."""
