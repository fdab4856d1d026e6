"""Spiking networks on crossbars: neurons, encodings, forward pass, chip."""
