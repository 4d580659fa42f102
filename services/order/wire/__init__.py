"""Between the contract's messages and the domain: the only place that knows both."""
