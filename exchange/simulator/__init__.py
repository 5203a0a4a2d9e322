"""The simulated exchange: a process of its own that speaks the gateway's protocol and fails as often as it is told to."""
