"""From counters to rates, means, quantiles and forecasts. Pure: numbers in, numbers out.

    moments      rate, mean, scv and quantile of what was counted in a window
    counters     how much a counter grew, resets and gaps included
    traffic      the arrival rate at several time scales, its trend and peaks, and which forecast erred least
    durations    service time (mean, scv) and worker start-up time, learned as they come

All state is in plain tuples, lists and dicts of numbers, so that it goes through JSON and no process owns it.
"""

from littleq.estimators.moments import histogram_quantile, mean, rate, scv

__all__ = ["histogram_quantile", "mean", "rate", "scv"]
