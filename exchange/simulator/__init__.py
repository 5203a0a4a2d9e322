"""The simulated exchange: a separate process that speaks the gateway's protocol and fails as often as it is told to."""
