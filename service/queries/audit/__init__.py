"""Doubts about the numbers: one of them made again, checks of stored days, odd values, what sources got wrong."""

CRITICAL, WARNING, INFO = "CRITICAL", "WARNING", "INFO"
SEVERITIES = (CRITICAL, WARNING, INFO)
METHODOLOGY_URL = "/api/openapi.json"  # the service's own document, which says how each number is made
