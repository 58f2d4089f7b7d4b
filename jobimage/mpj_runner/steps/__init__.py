"""One file a step: ``run(params, inputs, work) -> StepResult``.

A step is a function of its parameters and local paths. Not allowed inside: stores, Kubernetes,
argv, the environment, and heavy imports at module level outside the files that need them.
"""
