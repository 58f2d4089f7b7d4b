# Developers need: make setup lint test verify
