"""Questions: what is asked of the data, answered as rows of JSON."""

from typing import Any

Row = dict[str, Any]
