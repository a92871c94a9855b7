"""J and F of masks against the truth, as the official tools of DAVIS 2017 and SA-V give them.

Start reading in metric.py; rules.py says what counts; track.py makes the predictions itself.
"""

from pipeline.evaluation.folders import EvaluationError
from pipeline.evaluation.rules import Rules
from pipeline.evaluation.scores import Scores, score

__all__ = ["EvaluationError", "Rules", "Scores", "score"]
