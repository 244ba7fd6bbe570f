"""Measurements against other servers in the same run, and the demonstration. Not part of any distribution."""
