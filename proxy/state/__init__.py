"""What must survive a restart: the records of seams (override, latch) and the audit history. Knows no HTTP."""
