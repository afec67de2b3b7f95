"""One file per noun: read what the pipeline checked, call control, render."""
