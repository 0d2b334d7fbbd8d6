"""What all tests share: the models with known answers in this folder can be imported, and torch keeps to one core."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
