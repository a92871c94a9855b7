"""Training jobs: their settings, where their clips come from, and the loop one worker runs."""
