import resource


def allow_many_sockets() -> None:
    """Raise the limit of open files to the system's maximum: some of our processes need more connections than the usual limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
