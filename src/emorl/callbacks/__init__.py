"""Callbacks: the curriculum, pictures, and what a test or prediction leaves behind."""

from emorl.callbacks.curriculum import RefinementCurriculum
from emorl.callbacks.pictures import LogReconstructions
from emorl.callbacks.predictions import PredictionWriter
from emorl.callbacks.report import TestReport

__all__ = ["LogReconstructions", "PredictionWriter", "RefinementCurriculum", "TestReport"]
