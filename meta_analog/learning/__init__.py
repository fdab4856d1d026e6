"""Meta-learning: update rules, pulse encoders, MAML, Haiku transforms."""
