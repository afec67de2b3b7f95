"""The replicated log's core: pure, no clock, socket, file or thread. Start reading at `node`."""
