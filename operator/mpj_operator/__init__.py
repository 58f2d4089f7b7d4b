"""Turn MixedPrecisionJobs into batch/v1 Jobs, and their results into status.

Layers, top to bottom: ``handlers`` and ``cli``, then ``shell``, ``core``, ``api``, and of the
runner only ``mpj_runner.contract``. Nothing imports upwards.
"""

__version__ = "0.1.0"
