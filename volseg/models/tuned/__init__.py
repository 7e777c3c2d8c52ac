"""Models whose decoder learned from people's corrections, and whose encoder is their parent's."""
