"""Meta-testing, baselines, energy and device characterization."""
