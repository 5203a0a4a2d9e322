"""`make chaos`: runs the whole system under load while killing, freezing, restarting, deceiving and halting it."""
