"""Reads what a model cannot: encoded, disguised and invisible text, as a decoded view beside the raw one."""
