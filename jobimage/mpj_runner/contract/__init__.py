"""What crosses the process boundary between the operator and a step.

Values only: pydantic models and two exceptions. Not allowed inside: I/O, clocks, environment
variables, and any import beyond the standard library and pydantic.
"""
