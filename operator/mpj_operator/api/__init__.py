"""The resource ``mixedprecision.dev/v1alpha1``: pydantic types, and the CRD made from them.

Pure: no I/O, clock, environment or client.
"""
