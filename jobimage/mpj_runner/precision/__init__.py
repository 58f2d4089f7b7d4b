"""Lowering a graph's floating-point precision: ModelOpt AutoCast on values of real images.

Not allowed inside: 8-bit formats, data sets (images come as feeds), and random input.
"""
