"""How much each layer suffers in a low-precision format: ModelOpt's auto_quantize on a graph.

``scoring`` runs the search once, ``search`` reads what it left and solves it for any budget. Not
allowed inside: ONNX Runtime, data sets (images come as an iterable of batches), and decisions about
anything but layers.
"""
