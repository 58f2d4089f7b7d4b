"""Run one step of a mixed-precision job.

Layers, top to bottom: ``__main__`` (argv and environment), ``runner`` (fetch, run, put),
``steps`` (one function each), then ``backends``, ``graph``, ``vision``, ``stores`` and ``report``,
and at the bottom ``contract``. Nothing imports upwards. Nothing in here knows Kubernetes.
"""

__version__ = "0.1.0"
