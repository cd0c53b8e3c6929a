"""Data sets and the loader that feeds them to a model in batches."""

from tinygrad_cnn.data import transforms
from tinygrad_cnn.data.datasets import TensorDataset
from tinygrad_cnn.data.handwriting import digits
from tinygrad_cnn.data.loading import DataLoader, Dataset
from tinygrad_cnn.data.standard import CIFAR10, MNIST, FashionMNIST, ImageFolder

__all__ = [
    "CIFAR10",
    "MNIST",
    "DataLoader",
    "Dataset",
    "FashionMNIST",
    "ImageFolder",
    "TensorDataset",
    "digits",
    "transforms",
]
