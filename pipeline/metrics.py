"""The figures of an actor as Prometheus metrics, which Ray exports on every node."""

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.account import FIGURES

_PREFIX = "masklet_"  # Ray puts its own before this
_SHARES = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]


class Metrics:
    """Takes the figures of `pipeline.account`; `model` is a label of them all."""

    def __init__(self, model: str) -> None:
        self._metrics = {name: _metric(name, model) for name in FIGURES}

    def __call__(self, name: str, value: float) -> None:
        """Records one figure."""
        metric = self._metrics[name]
        if isinstance(metric, Gauge):
            metric.set(value)
        elif isinstance(metric, Histogram):
            metric.observe(value)
        elif value > 0:  # Ray refuses to count nothing
            metric.inc(value)


def _metric(name: str, model: str) -> Counter | Gauge | Histogram:
    figure = FIGURES[name]
    metric: Counter | Gauge | Histogram
    if figure.kind == "share":
        metric = Histogram(_PREFIX + name, figure.meaning, _SHARES, ("model",))
    else:
        made = Counter if figure.kind == "counter" else Gauge
        metric = made(_PREFIX + name, figure.meaning, ("model",))
    metric.set_default_tags({"model": model})
    return metric
