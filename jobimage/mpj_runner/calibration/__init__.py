"""Statistics of activations, ranges chosen from them, and the quantizer that they are given to.

Numpy, OpenCV's histogram and ONNX Runtime only; ModelOpt in ``quantizer`` alone. Not allowed
inside: reading images, stores, the environment, and made-up data: every range comes from images
that ran through the model.
"""
