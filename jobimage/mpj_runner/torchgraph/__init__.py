"""An ONNX graph as a PyTorch module, so that ModelOpt's PyTorch half works on any source format.

Convolutions and matrix products with weights become ``nn.Conv2d``, ``nn.ConvTranspose2d`` and
``nn.Linear``; every other node becomes a function without parameters. No pickle and no user code is
needed, and each module stands for one node. Not allowed inside: ModelOpt, ONNX Runtime, files, and
operations in place: ModelOpt's hooks on gradients forbid them.
"""
