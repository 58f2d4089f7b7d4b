"""From a user's model file to a static FP32 ONNX graph: one file a format.

``ultralytics``, ``torch`` and ``onnx`` read their format; the rest is common to them. Unpickling
happens in ``ultralytics`` only, a user's code runs in ``torch`` only, and both run in the export
container alone. Not allowed inside: stores, data sets, backends, quantized graphs other than those
that a user brings, and importing ``ultralytics`` outside the file of that name.
"""
