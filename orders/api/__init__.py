"""The REST API. Views validate and call one function of `orders`."""
