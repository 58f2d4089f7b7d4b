"""Pure ONNX-to-ONNX: regions and names, head detection, Q/DQ editing, legalisation for a backend.

Not allowed inside: running a model, files other than the graph, and any backend's runtime.
"""
