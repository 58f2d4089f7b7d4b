"""Kubernetes as a cluster: its API in JSON, and what the plan sees of it."""
