"""Things that write. Idempotent, safe to kill at any moment."""
