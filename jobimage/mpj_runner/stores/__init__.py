"""Where artifacts live: blobs named by their digest, and manifests that point to them.

Not allowed inside: knowledge of any step.
"""
