"""Touch the world: two clusters behind one protocol, and the loop that reconciles.

Not allowed inside: decisions. What to do next is asked of ``core``.
"""
