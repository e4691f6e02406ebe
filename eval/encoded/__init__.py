"""The same texts as they stand and encoded: what a checkpoint flags with and without reading decoded views."""
