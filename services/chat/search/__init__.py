"""Search in what was said: an index behind a port, fed from Chat's log, answers that are checked against the conversations."""
