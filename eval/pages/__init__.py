"""Pages that people read: values to words, values to pictures, templates to one file that opens offline."""
