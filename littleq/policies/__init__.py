"""Decisions as arithmetic: values in, a frozen decision out. No clock, no random source, no broker."""
