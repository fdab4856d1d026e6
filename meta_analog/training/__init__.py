"""Meta-training, pretraining and their loops."""
