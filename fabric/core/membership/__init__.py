"""Who is here: the sans-I/O membership core, plain version behind the final shape.

Theory. Every node is linked to every other (full mesh; `design/gossip.md` section 4 replaces this by a
small active view without changing this package's outside). A node's record has one writer, itself:
it signs the record, so anybody may relay it, and the highest (incarnation, version) wins wherever two
meet. Change is pushed to all at once; each BEAT carries a hash of all its sender knows, and two nodes
whose hashes differ compare digests, so a lost push is repaired within two beats.

Liveness is never gossiped: each node judges its peers by its own evidence (`liveness.py`). A node it
has only heard *about* is SUSPECT until it speaks. LEFT is the owner's own signed last word; only a
higher incarnation of the owner undoes it. Nothing here reads a wall clock.
"""
