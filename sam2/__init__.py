"""SAM 2 on one device: the model, its memory, the tracking step and the engine around it."""
