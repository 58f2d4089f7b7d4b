"""Images and boxes: data sets, letterbox, decoders, NMS, COCO metrics.

Not allowed inside: backends and stores.
"""
