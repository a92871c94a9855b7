"""Training: synthetic clips, simulated prompts, losses, and the loop that ties them together."""
