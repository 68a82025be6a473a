"""What tells a corpus's label without its music, and what to do about it: `gan data audit`."""

from data_tools.audit.report import Report, audit

__all__ = ["Report", "audit"]
