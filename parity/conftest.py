"""PyTorch beside ours: on one thread, for the workers of pytest share the machine."""

import torch

torch.set_num_threads(1)
