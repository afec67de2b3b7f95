"""This host's side: brings the rows assigned to it about, and says what it sees.

Theory of operation. The rows assigned to a host are its desired state (DESIGN section 7). `assignments`
keeps a complete copy of them, `reconcile` compares it with what the driver lists and gives each server
at most one worker at a time; `decide` is the whole decision, pure. Nothing is remembered about progress:
a worker that dies anywhere is started again from the rows and finds its steps done, half done or not
done, and every step is an end state. Only facts that no row and no driver can tell are kept on disk
(`notes`, `assignments`): which disk image a guest was built on, which reboot was done, how new the
newest rows were.
"""
