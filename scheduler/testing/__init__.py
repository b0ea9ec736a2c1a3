"""
For the tests of people who use Steadybeat.

`simulate` tells which fires come when over a span of time, without Redis, waiting or running anything. `eager` runs tasks in the
calling process, through the steps that a worker takes. The fixtures of `scheduler.testing.pytest` give an App on a real server of its
own, and real workers.
"""

from scheduler.testing.simulation import Fires, Peak, Simulation, simulate
from scheduler.testing.stage import Eager, eager

__all__ = ["Eager", "Fires", "Peak", "Simulation", "eager", "simulate"]
