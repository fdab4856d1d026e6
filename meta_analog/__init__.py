"""Meta-training of spiking networks through analog in-memory hardware."""

__version__ = '0.1.0'
