"""What a person types: one file a command of ``mpj``, and what they see on the screen.

Not allowed inside: decisions about a job; these ask ``shell`` and ``core``.
"""
