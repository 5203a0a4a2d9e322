"""`make chaos`: the whole system under load while its processes are killed, frozen and restarted, lied to and halted."""
