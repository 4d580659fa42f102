"""Statistics: absolute counts keyed by place in the log, so that an event handed over twice changes nothing and a rebuild equals live."""
