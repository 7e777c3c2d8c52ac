"""A SAM as the predictor of a plan: weights checked, embeddings through the shared cache."""
