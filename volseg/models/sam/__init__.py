"""The family of Segment Anything: official checkpoints and those fine-tuned from them."""
