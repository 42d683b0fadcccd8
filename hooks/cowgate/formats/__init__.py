"""Pure, lossless text work: what was not asked to change keeps every byte. Imports nothing that does I/O."""
