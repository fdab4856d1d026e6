"""All that writes devices: programming, writing, verification, refresh."""
