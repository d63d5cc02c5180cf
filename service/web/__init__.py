"""HTTP: a request makes three stops, route, query, JSON."""
