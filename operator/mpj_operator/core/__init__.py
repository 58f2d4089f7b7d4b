"""Decide: ``plan(observed)`` gives actions and status; the search policy proposes trials.

Pure: no I/O, clock, environment or client; time is an argument.
"""
