"""Trains a network as its cfg says."""

from darknet_py.train.checkpoint import Checkpoint, Saver, base_name, check_place, resume_beside
from darknet_py.train.distributed import ALONE, Share, World, joined, share_of
from darknet_py.train.environment import tune_malloc
from darknet_py.train.launch import STOPPED, check_gpus, launch
from darknet_py.train.loop import Result, train
from darknet_py.train.observers import History, Observer, Update
from darknet_py.train.optimizer import DarknetAdam, DarknetSGD, optimizer_of
from darknet_py.train.report import Chart, CsvLog, TensorBoard
from darknet_py.train.schedule import rate_at
from darknet_py.train.settings import MANNERS, Manner, TrainSettings, default_workers
from darknet_py.train.sizes import CLASSIFIER, DETECTOR, Sizes, size_at
from darknet_py.train.step import Stepper

__all__ = [
    "ALONE",
    "CLASSIFIER",
    "Chart",
    "Checkpoint",
    "CsvLog",
    "DETECTOR",
    "DarknetAdam",
    "DarknetSGD",
    "History",
    "MANNERS",
    "Manner",
    "Observer",
    "Result",
    "STOPPED",
    "Saver",
    "Share",
    "Sizes",
    "Stepper",
    "TensorBoard",
    "TrainSettings",
    "Update",
    "World",
    "base_name",
    "check_gpus",
    "check_place",
    "default_workers",
    "joined",
    "launch",
    "optimizer_of",
    "rate_at",
    "resume_beside",
    "share_of",
    "size_at",
    "train",
    "tune_malloc",
]
