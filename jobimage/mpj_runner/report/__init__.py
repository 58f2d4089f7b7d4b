"""From report.json to one self-contained HTML page.

Not allowed inside: measuring, and any request to the network from the page.
"""
