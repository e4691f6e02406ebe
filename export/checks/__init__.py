"""What `export.verify` looks at: tokenizer, graphs, heads, a smoke text, the files of a bundle."""
