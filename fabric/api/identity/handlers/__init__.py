"""One file for each noun: parse, call one control function, render."""
