"""Callbacks: the curriculum, pictures, alarms, and what a test or prediction leaves behind."""

from emorl.callbacks.alarm import CollapseAlarm
from emorl.callbacks.clock import Clock
from emorl.callbacks.curriculum import RefinementCurriculum
from emorl.callbacks.pictures import LogReconstructions
from emorl.callbacks.predictions import PredictionWriter
from emorl.callbacks.report import TestReport

__all__ = ["Clock", "CollapseAlarm", "LogReconstructions", "PredictionWriter", "RefinementCurriculum", "TestReport"]
