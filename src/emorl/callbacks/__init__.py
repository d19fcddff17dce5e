"""Callbacks: curriculum, pictures, alarms, progress, and the files of runs, tests and predictions."""

from emorl.callbacks.alarm import CollapseAlarm
from emorl.callbacks.averaging import AveragedWeights
from emorl.callbacks.best import BestCheckpoint
from emorl.callbacks.clock import Clock
from emorl.callbacks.cost import Cost
from emorl.callbacks.curriculum import RefinementCurriculum
from emorl.callbacks.next_steps import NextSteps
from emorl.callbacks.pictures import LogReconstructions
from emorl.callbacks.predictions import PredictionWriter
from emorl.callbacks.preemption import Preemption
from emorl.callbacks.progress import ProgressBar
from emorl.callbacks.record import RunRecord
from emorl.callbacks.report import TestReport
from emorl.callbacks.wandb import WandbCheckpoints, WandbSegmentations

__all__ = [
    "AveragedWeights",
    "BestCheckpoint",
    "Clock",
    "CollapseAlarm",
    "Cost",
    "LogReconstructions",
    "NextSteps",
    "PredictionWriter",
    "Preemption",
    "ProgressBar",
    "RefinementCurriculum",
    "RunRecord",
    "TestReport",
    "WandbCheckpoints",
    "WandbSegmentations",
]
