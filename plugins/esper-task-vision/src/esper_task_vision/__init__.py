"""Image classification tasks: digits, Fashion-MNIST and CIFAR-10."""
