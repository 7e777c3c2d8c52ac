"""Where a classifier is unsure, and where a person's next stroke helps."""
