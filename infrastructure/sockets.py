import resource


def allow_many_sockets() -> None:
    """As many as the system lets this process have: the usual limit is below the number of connections that some of ours take."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
